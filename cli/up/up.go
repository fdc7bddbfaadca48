// Package up runs a whole cluster on this machine: a child process for each role.
package up

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"ringway/cli/client"
	"ringway/cli/config"
	"ringway/cli/console"
	"ringway/cli/listen"
	"ringway/cli/up/supervise"
	"ringway/events"
)

// up is one run of `ringway up`: it owns the data directory, the public
// sockets and one child process for each role.
type up struct {
	*client.Client
	o              upFlags
	specArgs       []string           // flags about the service and the table, for the controller
	tableName      string             // name of the table that is asked for; empty: none
	tableRequest   events.InitRequest // the rest of it
	defaultTimeout bool               // --start-timeout was not given, so a database gets longer
	grace          time.Duration      // that instances are given to end

	data       *supervise.Data
	public     []string              // as bound, those of the network first
	admin      string                // as bound
	bus        string                // name of our own
	opened     []*listen.Socket      // whose files are ours to remove
	sockets    []*os.File            // passed on
	incomplete []client.ShardProblem // shards that are not whole
	shards     int                   // there are
	stages     []*stage              // in the order in which they are started

	mu      sync.Mutex
	started bool             // ready was printed
	deaths  map[string]int   // before that, by child
	fatal   chan *startError // a child that cannot start
}

// upFlags are the flags of `ringway up`.
type upFlags struct {
	listen            []string
	admin, nats, data string
	table             string
	hosts             int
	timeout           time.Duration
	spec              config.Flags
	logs              console.LogFlags
}

const (
	startTimeout = time.Minute
	tableTimeout = 3 * time.Minute  // database servers take their time on their first day
	shardGrace   = 40 * time.Second // that a shard server is given to end
)

// stage is the children of one role, which start and stop together.
type stage struct {
	name     string
	children []*supervise.Child
	cancel   context.CancelFunc
	done     sync.WaitGroup
}

// Command is `ringway up`.
func Command(c *client.Client) *cobra.Command {
	u := &up{Client: c, bus: "ringway-bus-" + rand.Text(), deaths: map[string]int{}, fatal: make(chan *startError, 1)}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run a whole cluster on this machine",
		Long: `Run a whole cluster on this machine in the foreground: a bus, a controller, one
agent a host, a router, and the replicas of the sample service "web". With --table
also a database: it is made if there is none of its name, see 'ringway init --help'
for the file; without the flag, one that is stored goes on. One of that name stays
as it is, whatever the file says; what differs is told.

When all replicas serve it prints one line that begins with "ready". A shard that
only a person can help is not waited for: it is named before that. Each role is
a child process that is started again when it dies; the public addresses stay
open meanwhile. What was asked for survives in the data directory. Flags and
configuration that are given win over it, but for --table. A file that names the
service says all of it: a key that is taken away again loses its value, and replicas
that were added by hand stay until the file's own number changes. Without a file all
stays as stored.
Replicas stay on the hosts they were given to, as long as these live.

Clients on this machine may be served on a Unix socket, which costs less than a
port: --listen unix:PATH. Who may write to its file (its owner and group) may
connect; the file is removed at the end.

Ctrl-C drains and stops everything; a second one kills at once. Logs are in
DATA/logs. A configuration file looks like this, every key may be left out:

  services:
    web:
      replicas: 3
      algorithm: balanced         # or course
      slots: 16384                # size of the slot table
      load_factor: 1.25           # bounded load; 0 is off
      key: {from: header, name: X-Ringway-Key}   # or cookie, query, path, address
      paths: [/home, /heartbeat]  # others are answered 400; []: all are forwarded
      health: /heartbeat          # probed on every replica
      command: [python3, app.py, "{port}"]   # in place of the sample replica; PORT is in its environment too
      env: {LEVEL: "info"}
      image: shop:1.2             # on containers: in place of Ringway's own; command is its whole argv
      port: 8080                  # on containers: where the image listens, if it does not obey PORT
      limits: {memory: 512MiB, cpus: 1, pids: 256}   # on containers
      timeout: 30s                # for a whole answer
      drain: 30s                  # for requests in flight on removal
      grace: 5s                   # between SIGTERM and SIGKILL
      min_ready: 10s              # a changed replica has to be ready for so long before the next one is changed
      functions: {h: "i*i + 2*i + 17", phi: "i*i + j*j + 2*j + 25"}   # of course
  tables:
    StudT:                        # its shard servers; a change starts them anew, one at a time
      engine: auto                # or mysql, sqlite; data stays with the engine that made it
      env: {LEVEL: "info"}
      image: ringway-shard:2      # on containers: in place of the agent's --shard-image
      limits: {memory: 1GiB, cpus: 2, pids: 256}   # on containers`,
		Example: `  ringway up
  ringway up --hosts 3 --replicas 6
  ringway up --algorithm course --data /tmp/course
  ringway up --config ringway.yaml --listen 0.0.0.0:8080
  ringway up --table table.yaml       # with a database
  ringway up --listen 127.0.0.1:5000 --listen unix:/run/ringway.sock`,
		Args: console.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return u.run(cmd) },
	}
	listen.PublicFlag(cmd, &u.o.listen)
	cmd.Flags().StringVar(&u.o.admin, "admin", "127.0.0.1:5001", "address of the router's /metrics, /livez, /readyz and /routes")
	cmd.Flags().StringVar(&u.o.nats, "nats", listen.DefaultNATS, "address of the bus")
	cmd.Flags().StringVar(&u.o.data, "data", ".ringway", "directory for all that is kept")
	cmd.Flags().IntVar(&u.o.hosts, "hosts", 1, "agents to run, named host-1, host-2, …")
	cmd.Flags().DurationVar(&u.o.timeout, "start-timeout", startTimeout, "longest wait until everything serves; with a database 3m")
	cmd.Flags().StringVar(&u.o.table, "table", "", "YAML or JSON file of a table to make if it is not there")
	u.o.spec.Add(cmd)
	u.o.logs.Add(cmd)
	return cmd
}

func (u *up) run(cmd *cobra.Command) (err error) {
	if err := u.check(cmd); err != nil {
		return err
	}
	ctx, kill, stopSignals := u.signals(cmd.Context())
	defer stopSignals()
	if err := u.open(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, u.close()) }()

	err = u.start(ctx)
	if err == nil {
		u.ready()
		u.watchLogs(ctx)
	}
	killed := u.stop(kill)
	switch {
	case killed:
		return console.Exit(console.ExitInterrupted, errors.New("killed at once, as asked"))
	case err != nil && ctx.Err() != nil:
		return console.Exit(console.ExitInterrupted, errors.New("interrupted before it was ready; everything is stopped"))
	}
	return err
}

// check refuses what cannot be before anything is touched.
func (u *up) check(cmd *cobra.Command) (err error) {
	if _, err = u.o.logs.Logger(u.Console.W, "up"); err != nil {
		return err
	}
	if u.o.listen, err = listen.PublicAddresses("--listen", u.o.listen); err != nil {
		return err
	}
	for _, f := range []struct {
		flag string
		v    *string
	}{{"--admin", &u.o.admin}, {"--nats", &u.o.nats}} {
		if *f.v, err = listen.Address(f.flag, *f.v); err != nil {
			return err
		}
	}
	if u.o.hosts < 1 || u.o.hosts > 50 {
		return console.Usage("--hosts %d: use 1 to 50", u.o.hosts)
	}
	if u.o.timeout <= 0 {
		return console.Usage("--start-timeout %s: use a positive duration like 60s", u.o.timeout)
	}
	spec, err := u.o.spec.Spec(cmd)
	if err != nil {
		return err
	}
	u.grace = spec.Grace.D()
	u.specArgs = u.o.spec.Args(cmd)
	u.defaultTimeout = !cmd.Flags().Changed("start-timeout")
	if u.o.table != "" {
		table, err := config.LoadTable(u.o.table)
		if err != nil {
			return err
		}
		u.tableName, u.tableRequest = table.Request.Table.Name, table.Request
		u.specArgs = append(u.specArgs, "--table", u.o.table)
	}
	return nil
}

// open takes the data directory and the addresses, and makes the children.
func (u *up) open(ctx context.Context) (err error) {
	waiting, done := context.WithTimeout(ctx, u.o.timeout)
	defer done()
	u.data, err = supervise.OpenData(waiting, u.o.data, func() {
		u.Console.Progress("waiting for what an earlier run left to end…")
	})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, u.close())
		}
	}()
	for _, a := range u.o.listen {
		if a, err = u.listen(a, "--listen"); err != nil {
			return err
		}
		u.public = append(u.public, a)
	}
	if u.admin, err = u.listen(u.o.admin, "--admin"); err != nil {
		return err
	}
	if u.o.nats, err = listen.FreePort(u.o.nats, "--nats"); err != nil {
		return err
	}
	return u.makeChildren()
}

func (u *up) listen(address, flag string) (string, error) {
	s, err := listen.Open(address, flag)
	if err != nil {
		return "", err
	}
	u.opened = append(u.opened, s)
	f, err := s.Pass()
	if err != nil {
		return "", err
	}
	u.sockets = append(u.sockets, f)
	return s.Address(), nil
}

func (u *up) makeChildren() error {
	nats := "nats://" + listen.Reachable(u.o.nats)
	run := config.Run{ID: rand.Text(), Given: time.Now()}
	fixed := func(args ...string) func() []string { return func() []string { return args } }
	add := func(name string, specs ...supervise.Spec) error {
		s := &stage{name: name}
		u.stages = append(u.stages, s)
		for _, spec := range specs {
			c, err := u.child(spec)
			if err != nil {
				return err
			}
			s.children = append(s.children, c)
		}
		return nil
	}
	router := []string{"router", "--nats", nats, "--id", "router-1", "--data", u.data.Path("router")}
	for i := range u.public {
		router = append(router, "--listen-fd", fmt.Sprint(supervise.FirstFile+i))
	}
	var agents []supervise.Spec
	for i := range u.o.hosts {
		host := fmt.Sprintf("host-%d", i+1)
		agents = append(agents, supervise.Spec{
			Name:       "agent-" + host,
			Args:       fixed("agent", "--nats", nats, "--host", host, "--data", u.data.Path("hosts", host)),
			ByLifeline: true, // its instances end with it
			// Until its instances have ended, and a little.
			StopTimeout: max(u.grace, shardGrace) + 10*time.Second,
		})
	}
	return errors.Join(
		add("bus", supervise.Spec{
			Name: "bus", StopTimeout: 10 * time.Second,
			Args: fixed("bus", "--listen", u.o.nats, "--store", u.data.Path("bus"), "--name", u.bus),
		}),
		add("agents", agents...),
		add("controller", supervise.Spec{
			Name: "controller", StopTimeout: 10 * time.Second,
			Args: fixed(append([]string{"controller", "--nats", nats, "--id", "controller-1", "--expect-hosts", fmt.Sprint(u.o.hosts)}, append(run.Args(), u.specArgs...)...)...),
		}),
		add("router", supervise.Spec{
			Name: "router", StopTimeout: 40 * time.Second,
			Args:    fixed(append(router, "--admin-fd", fmt.Sprint(supervise.FirstFile+len(u.public)))...),
			Sockets: u.sockets,
		}),
	)
}

func (u *up) child(spec supervise.Spec) (*supervise.Child, error) {
	spec.Path = executable()
	spec.Log = u.data.Path("logs", spec.Name+".log")
	spec.Files = []*os.File{u.data.Lock()}
	args := spec.Args
	spec.Args = func() []string {
		return append(args(), "--log-level", u.o.logs.Level, "--log-format", u.o.logs.Format)
	}
	if err := supervise.RotateLog(spec.Log); err != nil {
		u.Console.Printf("ringway: log of %s: %s", spec.Name, err)
	}
	return supervise.New(spec, supervise.DefaultBackoff(), u.report)
}

// executable is this very program, also after the file was replaced.
func executable() string {
	const self = "/proc/self/exe"
	if _, err := os.Stat(self); err == nil {
		return self
	}
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}

func (u *up) close() error {
	for _, s := range u.sockets {
		_ = s.Close() // closed already if there was a router to stop
	}
	var errs []error
	for _, s := range u.opened {
		errs = append(errs, s.Remove())
	}
	return errors.Join(append(errs, u.data.Close())...)
}

// ready prints the addresses of everything.
func (u *up) ready() {
	u.mu.Lock()
	u.started = true
	u.mu.Unlock()
	u.Console.Clear()
	line := []string{
		"ready",
		"http " + listen.ClientURL(u.public[0]),
		"admin http://" + listen.Reachable(u.admin),
		"nats nats://" + listen.Reachable(u.o.nats),
	}
	for _, more := range u.public[1:] {
		line = append(line, "http "+listen.ClientURL(more))
	}
	u.reportIncomplete()
	fmt.Fprintln(u.Out, strings.Join(line, "  "))
}

// watchLogs bounds the logs until ctx ends.
func (u *up) watchLogs(ctx context.Context) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, s := range u.stages {
			for _, c := range s.children {
				if err := supervise.TrimLog(c.Log(), supervise.MaxLog); err != nil {
					u.Console.Printf("ringway: log of %s: %s", c.Name(), err)
				}
			}
		}
	}
}
