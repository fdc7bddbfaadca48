// Package cli is what people type.
//
// Every command has an example in its help; every listing has -o json; an
// error names the next step and never shows a stack. What a command prints on
// stdout is its result, and nothing else: progress and errors go to stderr.
// Exit codes are part of the contract, see the constants.
package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"regexp"

	"github.com/spf13/cobra"

	"ringway/agent/lifeline"
	"ringway/cli/client"
	"ringway/cli/config"
	"ringway/cli/console"
	"ringway/cli/up"
	"ringway/cli/verify"
)

// Wiring is what the composition root gives: how to run a role in the
// foreground until ctx ends, and how to reach a cluster.
type Wiring struct {
	Version    string // of this program, without v
	Bus        func(ctx context.Context, o BusOptions) error
	Controller func(ctx context.Context, o ControllerOptions) error
	Agent      func(ctx context.Context, o AgentOptions) error
	Router     func(ctx context.Context, o RouterOptions) error
	Shard      func(ctx context.Context, o ShardOptions) error
	Server     func(ctx context.Context, o ServerOptions) error
	RunCommand func(ctx context.Context, o CommandOptions) (exit int, err error)
	Dial       func(ctx context.Context, url string) (client.Cluster, error)
}

// Role is what every role is given. The context of a role ends with the cause
// lifeline.ErrClosed when its supervisor wants it, or is gone: then it takes
// along what it started. Any other end is a signal, and leaves instances running.
type Role struct {
	Log  *slog.Logger
	Line *lifeline.Line // to pass on to instances; nil without a supervisor
}

// BusOptions are those of `ringway bus`.
type BusOptions struct {
	Role
	Listen  string // host:port for clients
	Monitor string // host:port of the monitoring endpoints; empty: none
	Store   string // directory
	Name    string
	Cluster string   // host:port for the other bus servers; empty: alone
	Routes  []string // URLs of the bus servers, as they reach each other
}

// ControllerOptions are those of `ringway controller`.
type ControllerOptions struct {
	Role
	NATS   string // URL
	ID     string
	Config config.ServiceConfig // of the service, from the file and the flags
	Hosts  int                  // to wait for before instances are placed; 0: not known
	Copies int                  // of each stream of the bus; 0: one on each bus server, three at most

	Tables []config.TableConfig // to make if they are not there
}

// AgentOptions are those of `ringway agent`.
type AgentOptions struct {
	Role
	NATS string // URL
	Host string
	Data string // directory of the records and logs of instances

	Runtime   string // RuntimeProcess or RuntimeDocker; what follows is of the latter
	Image     string // Ringway's own, for services that name none
	Network   string // of the containers; empty: the engine's bridge
	Advertise string // IP of this host; empty: containers are reached at their own
	Cluster   string

	ShardImage    string // of shard servers
	ContainerNATS string // URL of the bus as containers reach it
}

// What instances are.
const (
	RuntimeProcess = "process"
	RuntimeDocker  = "docker"
)

// RouterOptions are those of `ringway router`. The listeners are the router's
// to close.
type RouterOptions struct {
	Role
	NATS   string // URL
	ID     string
	Data   string // directory for the last routes; empty: not kept
	Public []net.Listener
	Admin  net.Listener
}

// ShardOptions are those of `ringway shard`, a shard server.
type ShardOptions struct {
	Role
	NATS   string // URL
	Name   string
	Listen string // host:port
	Data   string // directory of the store, its volume
	Engine string // auto, mysql or sqlite
	DSN    string // of a server that somebody else runs; empty: its own
}

// ServerOptions are those of `ringway server`, the sample replica.
type ServerOptions struct {
	Role
	ID     string
	Listen string // host:port
}

// CommandOptions are those of `ringway hold`.
type CommandOptions struct {
	Role
	Argv      []string
	Output    string // path of a log for what the command prints; empty: our own output
	MaxOutput int64  // bytes of that log
}

// Streams are where a command writes, and whom it asks. Progress is shown in
// place when Err is a terminal; questions are asked when In is one.
type Streams struct {
	Out, Err io.Writer
	In       io.Reader // nil: the process's own
}

// app is one invocation.
type app struct {
	*client.Client
	w   Wiring
	ran bool // the command line was understood
}

func newApp(w Wiring, s Streams) *app {
	c := &client.Client{Dial: w.Dial, Out: s.Out, In: s.In, Console: console.New(s.Err)}
	if c.In == nil {
		c.In = os.Stdin
	}
	return &app{Client: c, w: w}
}

// Main runs one command line and returns the exit code.
func Main(ctx context.Context, w Wiring, args []string, s Streams) int {
	a := newApp(w, s)
	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	a.Console.Clear()
	if err == nil {
		return console.ExitOK
	}
	code := console.ExitCode(err)
	if !a.ran {
		code = console.ExitUsage
	}
	if console.Silent(err) {
		return code
	}
	a.Console.Printf("ringway: %s", err)
	if !a.ran {
		a.Console.Printf("See '%s --help'.", cmd.CommandPath())
	}
	return code
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "ringway",
		Short: "Keep HTTP replicas and a sharded database running, and route to them",
		Long: `Ringway keeps a fleet of HTTP replicas and a sharded, replicated MySQL running, and
routes to both by consistent hashing, with every decision visible on a NATS bus.

Exit codes: 0 done, 1 failed, 2 the command line or configuration is wrong,
3 nobody answers, 4 refused and nothing changed, 5 sent but the outcome is
unknown, 130 interrupted.`,
		Example: `  ringway up                          # a whole cluster on this machine
  ringway ps                          # its replicas
  ringway add -n 2                    # two more
  ringway events --follow             # what happens, and why`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		PersistentPreRun:  func(*cobra.Command, []string) { a.ran = true },
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.Version = a.build().String()
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	root.SetOut(a.Out)
	root.SetErr(a.Console.W)
	root.AddGroup(
		&cobra.Group{ID: "use", Title: "Use a cluster:"},
		&cobra.Group{ID: "run", Title: "Run a cluster:"},
	)
	group := func(id string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = id
			root.AddCommand(c)
		}
	}
	group("run", up.Command(a.Client), a.busCommand(), a.controllerCommand(), a.agentCommand(), a.routerCommand(), a.shardCommand(), a.serverCommand())
	group("use", a.psCommand(), a.shardsCommand(), a.initCommand(), verify.Command(a.Client), a.ringCommand(), a.eventsCommand(), a.addCommand(), a.rmCommand(), a.statusCommand())
	root.AddCommand(a.versionCommand(), a.holdCommand())
	return root
}

var badValue = regexp.MustCompile(`^invalid argument (".*") for "(?:-., )?--([a-z-]+)" flag: `)

// flagError explains what a value has to be.
func flagError(cmd *cobra.Command, err error) error {
	m := badValue.FindStringSubmatch(err.Error())
	if m == nil {
		return err
	}
	switch cmd.Flag(m[2]).Value.Type() {
	case "int":
		return fmt.Errorf("--%s %s: want a whole number", m[2], m[1])
	case "duration":
		return fmt.Errorf("--%s %s: want a duration with a unit, like 30s or 500ms", m[2], m[1])
	}
	return err
}
