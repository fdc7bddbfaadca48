package cli

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ringway/agent/lifeline"
	"ringway/cli/config"
	"ringway/cli/console"
	"ringway/cli/listen"
	"ringway/events"
)

// stopTimeout is how long a role may take to end after its lifeline closed:
// longer than any role needs, but nothing outlives `up` because it hangs.
const stopTimeout = time.Minute

// role runs f, which has r by then, until it fails, a signal comes or the
// lifeline closes.
func (a *app) role(cmd *cobra.Command, logs *console.LogFlags, r *Role, f func(ctx context.Context) error) error {
	log, err := logs.Logger(a.Console.W, cmd.Name())
	if err != nil {
		return err
	}
	line, err := lifeline.FromEnv()
	if err != nil {
		return err
	}
	// The kernel names a process after the file it executes, and `up` executes /proc/self/exe.
	_ = os.WriteFile("/proc/self/comm", []byte("ringway"), 0) // for people who look
	// What a supervisor gave to us (sockets, its lock) is not for our children.
	for fd := 3; fd < 16; fd++ {
		syscall.CloseOnExec(fd)
	}
	ctx, end := context.WithCancelCause(cmd.Context())
	defer end(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals) // a second one ends us at once
			log.Info("stopping", events.KeyCause, s.String())
			end(fmt.Errorf("signal: %s", s))
			select {
			case <-line.Closed():
			case <-cmd.Context().Done():
				return
			}
		case <-line.Closed():
			log.Info("stopping", events.KeyCause, lifeline.ErrClosed.Error())
			end(lifeline.ErrClosed)
		case <-ctx.Done():
			return
		}
		wait := stopTimeout
		// An instance may have longer; whatever it serves then ends within its grace.
		if grace, err := time.ParseDuration(os.Getenv("RINGWAY_GRACE")); err == nil {
			wait += grace
		}
		time.AfterFunc(wait, func() {
			log.Error("did not stop in time", "waited", wait)
			os.Exit(console.ExitFailed)
		})
	}()
	*r = Role{Log: log, Line: line}
	err = f(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (a *app) busCommand() *cobra.Command {
	var o BusOptions
	var logs console.LogFlags
	var routes string
	cmd := &cobra.Command{
		Use:   "bus",
		Short: "Run the bus: NATS with JetStream that syncs every write",
		Long: `Run the bus: NATS with JetStream that syncs every write.

Three servers survive the loss of one: each gets a --cluster-listen, the --routes
to all three, and a --name of its own that it keeps, with its store. Every bucket
and log then has three copies, and what is acknowledged is on two of them. Roles
and commands take all three as --nats A,B,C. A store of one server cannot become
one of three: see docs/operations.md.
`,
		Example: `  ringway bus --store /var/lib/ringway/bus
  ringway bus --listen 0.0.0.0:4222 --monitor 127.0.0.1:8222
  ringway bus --listen 0.0.0.0:4222 --name bus-1 --cluster-listen 0.0.0.0:6222 --routes bus-1:6222,bus-2:6222,bus-3:6222`,
		Args: console.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Listen, err = listen.Address("--listen", o.Listen); err != nil {
				return err
			}
			if o.Monitor != "" {
				if o.Monitor, err = listen.Address("--monitor", o.Monitor); err != nil {
					return err
				}
			}
			if err := o.check(cmd, routes); err != nil {
				return err
			}
			return a.role(cmd, &logs, &o.Role, func(ctx context.Context) error { return a.w.Bus(ctx, o) })
		},
	}
	cmd.Flags().StringVar(&o.Listen, "listen", listen.DefaultNATS, "address for clients")
	cmd.Flags().StringVar(&o.Monitor, "monitor", "", "address of the NATS monitoring endpoints (default: none)")
	cmd.Flags().StringVar(&o.Store, "store", filepath.Join(".ringway", "bus"), "directory of the streams")
	cmd.Flags().StringVar(&o.Name, "name", "ringway-bus", "name of the server, unique among those of a bus")
	cmd.Flags().StringVar(&o.Cluster, "cluster-listen", "", "address for the other bus servers (default: none, it is alone)")
	cmd.Flags().StringVar(&routes, "routes", "", "--cluster-listen of all bus servers, as they reach each other, separated by commas")
	logs.Add(cmd)
	return cmd
}

// check refuses what is no server of several.
func (o *BusOptions) check(cmd *cobra.Command, routes string) (err error) {
	if o.Cluster == "" {
		if routes != "" {
			return console.Usage("--routes needs --cluster-listen HOST:PORT, where the other bus servers reach this one")
		}
		return nil
	}
	if o.Cluster, err = listen.Address("--cluster-listen", o.Cluster); err != nil {
		return err
	}
	if routes == "" {
		return console.Usage("--cluster-listen needs --routes, the addresses of the bus servers, like nats://bus-1:6222,nats://bus-2:6222")
	}
	if !cmd.Flags().Changed("name") {
		return console.Usage("--cluster-listen needs --name, which no other bus server has, like --name bus-1")
	}
	if err := events.ValidName(o.Name); err != nil {
		return console.Usage("--name: %w", err)
	}
	urls, err := listen.URLs("--routes", routes, "6222")
	if err != nil {
		return err
	}
	o.Routes = strings.Split(urls, ",")
	return nil
}

func (a *app) controllerCommand() *cobra.Command {
	var o ControllerOptions
	var logs console.LogFlags
	var spec config.Flags
	var run config.Run
	var table string
	var check bool
	cmd := &cobra.Command{
		Use:   "controller",
		Short: "Run a controller: one leads and decides, others stand by",
		Example: `  ringway controller
  ringway controller --nats nats://bus-1:4222,nats://bus-2:4222 --config ringway.yaml
  ringway controller --config ringway.yaml --check     # before it is started anew`,
		Args: console.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.NATS, err = listen.NATSURL(o.NATS); err != nil {
				return err
			}
			if o.Copies < 0 || o.Copies > 5 {
				return console.Usage("--bus-copies %d: use 1 to 5, or 0 for one on each bus server, three at most", o.Copies)
			}
			if o.Config, err = spec.ServiceConfig(cmd, run); err != nil {
				return err
			}
			if table != "" {
				table, err := config.LoadTable(table)
				if err != nil {
					return err
				}
				o.Tables = []config.TableConfig{table}
			}
			if check {
				return nil
			}
			return a.role(cmd, &logs, &o.Role, func(ctx context.Context) error { return a.w.Controller(ctx, o) })
		},
	}
	cmd.Flags().StringVar(&o.NATS, "nats", listen.DefaultNATS, "the bus, host:port or URL")
	cmd.Flags().StringVar(&o.ID, "id", hostName()+"-"+randomID(), "name of this controller, unique in the cluster")
	cmd.Flag("id").DefValue = "host name and a random suffix"
	cmd.Flags().StringVar(&table, "table", "", "YAML or JSON file of a table to make if it is not there, see ringway init")
	cmd.Flags().BoolVar(&check, "check", false, "say what is wrong with --config and --table, and end")
	run.Add(cmd)
	cmd.Flags().IntVar(&o.Hosts, "expect-hosts", 0, "hosts to wait for before the first instances are placed (default: those heard in 1.5 s)")
	cmd.Flags().IntVar(&o.Copies, "bus-copies", 0, "copies of each stream of the bus (default: one on each of its servers, three at most)")
	spec.Add(cmd)
	logs.Add(cmd)
	return cmd
}

func (a *app) agentCommand() *cobra.Command {
	var o AgentOptions
	var logs console.LogFlags
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run the agent of this host: it starts, probes and stops instances",
		Long: `Run the agent of this host: it starts, probes and stops instances.

Instances are child processes, or containers of the Docker engine that
DOCKER_HOST names (default: the local one). Containers are reached at their
address on --network, which routers have to share; or, with --advertise, at a
port of this host. Shard servers reach the bus as --container-nats says.

The data of a shard server is in DATA/volumes, or in volumes of the engine, and
outlives it. Nothing but your hand removes it.

Stopped by a signal, it leaves its instances running for its successor.`,
		Example: `  ringway agent --data /var/lib/ringway/agent
  ringway agent --nats nats://bus-1:4222 --host rack3-7
  ringway agent --runtime docker --image ringway:latest --network ringway
  ringway agent --runtime docker --image ringway:latest --shard-image ringway-shard:latest --advertise 192.0.2.7`,
		Args: console.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.NATS, err = listen.NATSURL(o.NATS); err != nil {
				return err
			}
			if err := events.ValidName(o.Host); err != nil {
				return console.Usage("--host: %w", err)
			}
			if o.Data == "" {
				o.Data = filepath.Join(".ringway", "hosts", o.Host)
			}
			if err := o.check(cmd); err != nil {
				return err
			}
			return a.role(cmd, &logs, &o.Role, func(ctx context.Context) error { return a.w.Agent(ctx, o) })
		},
	}
	cmd.Flags().StringVar(&o.NATS, "nats", listen.DefaultNATS, "the bus, host:port or URL")
	cmd.Flags().StringVar(&o.Host, "host", hostName(), "name of this host, unique in the cluster")
	cmd.Flag("host").DefValue = "host name"
	cmd.Flags().StringVar(&o.Data, "data", "", "directory for records and logs of instances (default .ringway/hosts/HOST)")
	cmd.Flags().StringVar(&o.Runtime, "runtime", RuntimeProcess, "what instances are: process or docker")
	cmd.Flags().StringVar(&o.Image, "image", "", "docker: image of Ringway, for services that name none")
	cmd.Flags().StringVar(&o.ShardImage, "shard-image", "", "docker: image of shard servers: Ringway and a MySQL or MariaDB")
	cmd.Flags().StringVar(&o.ContainerNATS, "container-nats", "", "docker: the bus as containers reach it (default: --nats)")
	cmd.Flags().StringVar(&o.Network, "network", "", "docker: network of the containers (default: the engine's bridge)")
	cmd.Flags().StringVar(&o.Advertise, "advertise", "", "docker: IP of this host, at whose ports containers are reached")
	cmd.Flags().StringVar(&o.Cluster, "cluster", "ringway", "docker: name of the cluster; containers are called CLUSTER-INSTANCE")
	logs.Add(cmd)
	return cmd
}

// check refuses what would fail later, or mean nothing.
func (o *AgentOptions) check(cmd *cobra.Command) error {
	switch o.Runtime {
	case RuntimeProcess:
		for _, flag := range []string{"image", "shard-image", "container-nats", "network", "advertise", "cluster"} {
			if cmd.Flags().Changed(flag) {
				return console.Usage("--%s needs --runtime docker", flag)
			}
		}
		return nil
	case RuntimeDocker:
	default:
		return console.Usage("--runtime %q: use process or docker", o.Runtime)
	}
	if err := events.ValidName(o.Cluster); err != nil {
		return console.Usage("--cluster: %w", err)
	}
	if o.ContainerNATS == "" {
		o.ContainerNATS = o.NATS
	}
	nats, err := listen.NATSURL(o.ContainerNATS)
	if err != nil {
		return fmt.Errorf("--container-nats: %w", err)
	}
	o.ContainerNATS = nats
	if ip := net.ParseIP(o.Advertise); o.Advertise != "" && (ip == nil || ip.IsUnspecified()) {
		return console.Usage("--advertise %q: give an IP address of this host that routers reach, like 192.0.2.7", o.Advertise)
	}
	return nil
}

func (a *app) routerCommand() *cobra.Command {
	var o RouterOptions
	var logs console.LogFlags
	var addresses []string
	var admin string
	var listenFDs []int
	var adminFD int
	cmd := &cobra.Command{
		Use:   "router",
		Short: "Run a router: it serves clients from the replicas",
		Example: `  ringway router --listen 0.0.0.0:80 --admin 127.0.0.1:5001
  ringway router --nats nats://bus-1:4222
  ringway router --listen 0.0.0.0:80 --listen unix:/run/ringway.sock`,
		Args: console.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.NATS, err = listen.NATSURL(o.NATS); err != nil {
				return err
			}
			// The router closes them; this is for one that did not begin.
			defer func() {
				for _, l := range o.Public {
					_ = l.Close()
				}
			}()
			if o.Public, err = listen.PublicListeners("--listen", addresses, listenFDs); err != nil {
				return err
			}
			if o.Admin, err = listen.Listener("--admin", admin, adminFD); err != nil {
				return err
			}
			return a.role(cmd, &logs, &o.Role, func(ctx context.Context) error { return a.w.Router(ctx, o) })
		},
	}
	cmd.Flags().StringVar(&o.NATS, "nats", listen.DefaultNATS, "the bus, host:port or URL")
	listen.PublicFlag(cmd, &addresses)
	cmd.Flags().StringVar(&admin, "admin", "127.0.0.1:5001", "address of /metrics, /livez, /readyz and /routes")
	cmd.Flags().StringVar(&o.Data, "data", "", "directory that keeps the last routes over a restart, made if it is missing (default: not kept)")
	cmd.Flags().StringVar(&o.ID, "id", hostName()+"-"+randomID(), "name of this router, unique in the cluster")
	cmd.Flag("id").DefValue = "host name and a random suffix"
	cmd.Flags().IntSliceVar(&listenFDs, "listen-fd", nil, "inherited sockets in place of --listen")
	cmd.Flags().IntVar(&adminFD, "admin-fd", 0, "inherited socket in place of --admin")
	_ = cmd.Flags().MarkHidden("listen-fd") // fails only for a flag that is not there
	_ = cmd.Flags().MarkHidden("admin-fd")
	logs.Add(cmd)
	return cmd
}

func (a *app) serverCommand() *cobra.Command {
	var o ServerOptions
	var logs console.LogFlags
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run the sample replica: GET /home and GET /heartbeat",
		Long: `Run the sample replica: GET /home says who answers, GET /heartbeat that it lives.

Without --id it takes its id from RINGWAY_ID or SERVER_ID, without --listen its
port from PORT.`,
		Example: `  ringway server --id S1 --listen 127.0.0.1:7001
  SERVER_ID=S1 PORT=7001 ringway server`,
		Args: console.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			o.ID = instanceName(o.ID)
			if o.ID == "" {
				return console.Usage("no id; give --id, or RINGWAY_ID or SERVER_ID in the environment")
			}
			if o.Listen, err = instanceAddress(o.Listen); err != nil {
				return err
			}
			return a.role(cmd, &logs, &o.Role, func(ctx context.Context) error { return a.w.Server(ctx, o) })
		},
	}
	cmd.Flags().StringVar(&o.ID, "id", "", "name that /home tells")
	cmd.Flags().StringVar(&o.Listen, "listen", "", "address (default :5000)")
	logs.Add(cmd)
	return cmd
}

func (a *app) holdCommand() *cobra.Command {
	var logs console.LogFlags
	var o CommandOptions
	cmd := &cobra.Command{
		Use:     "hold -- COMMAND [ARGUMENT…]",
		Short:   "Run a command that ends with its agent's supervisor",
		Example: `  ringway hold -- python3 app.py`,
		Hidden:  true,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, argv []string) error {
			o.Argv = argv
			return a.role(cmd, &logs, &o.Role, func(ctx context.Context) error {
				code, err := a.w.RunCommand(ctx, o)
				if err != nil || code != 0 {
					return console.Exit(max(code, 1), err)
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&o.Output, "output", "", "log of what the command prints, with FILE.old before it")
	cmd.Flags().Int64Var(&o.MaxOutput, "max-output", 8<<20, "bytes of both files of that log")
	logs.Add(cmd)
	return cmd
}

// instanceName is that of the flag, else what an agent or a person put into
// the environment.
func instanceName(flag string) string {
	return cmp.Or(flag, os.Getenv("RINGWAY_ID"), os.Getenv("SERVER_ID"))
}

// instanceAddress is where an instance listens, in the same way.
func instanceAddress(flag string) (string, error) {
	return listen.Address("--listen", cmp.Or(flag, ":"+cmp.Or(os.Getenv("PORT"), "5000")))
}

var notInNames = regexp.MustCompile(`[^a-zA-Z0-9_.-]+`)

// hostName is the name of this machine as a valid name.
func hostName() string {
	name, _ := os.Hostname()                // "" is no name
	id, _ := os.ReadFile("/etc/machine-id") // none in many containers, whose names are unique
	return nameOf(name, strings.TrimSpace(string(id)))
}

// nameOf is the name of a machine as it is, or else as much of it as may be and a digest of
// it and of the machine's id: no two machines get one name by that.
func nameOf(machine, id string) string {
	name := notInNames.ReplaceAllString(machine, "-")
	if name == machine && len(name) <= maxHostName && events.ValidName(name) == nil && !strings.HasPrefix(name, "localhost") {
		return name
	}
	digest := sha256.Sum256([]byte(machine + "\x00" + id))
	suffix := hex.EncodeToString(digest[:4])
	name = strings.Trim(strings.ReplaceAll(name[:min(len(name), maxHostName-1-len(suffix))], "..", "-"), "_.-")
	if name == "" {
		name = "host"
	}
	return name + "-" + suffix
}

// maxHostName leaves room for what is added to it elsewhere.
const maxHostName = 40

func randomID() string { return fmt.Sprintf("%04x", rand.IntN(1<<16)) }
