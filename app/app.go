// Package app is the composition root: it alone sees the concrete types of all
// roles and adapters, and hands them to each other. The program is Main with
// the arguments of its process; tests of whole clusters start what it wires.
package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"

	"ringway/agent"
	"ringway/agent/docker"
	"ringway/agent/process"
	"ringway/agent/sample"
	"ringway/cli"
	"ringway/controller"
	"ringway/events"
	"ringway/events/bus"
	"ringway/events/bus/kv"
	"ringway/events/bus/server"
	"ringway/internal/failpoint"
	"ringway/router"
	"ringway/router/ring/formula"
	"ringway/shard"
	"ringway/shard/mysql"
	"ringway/shard/replica"
	"ringway/shard/volume"
)

// Main runs the command in args, which the program's name is not part of, and
// returns its exit code.
func Main(ctx context.Context, version string, args []string) int {
	return cli.Main(ctx, Wiring(version), args, cli.Streams{Out: os.Stdout, Err: os.Stderr})
}

// Wiring is how each role is run, and how a cluster is reached.
func Wiring(version string) cli.Wiring {
	return cli.Wiring{
		Version:    version,
		Bus:        runBus,
		Controller: func(ctx context.Context, o cli.ControllerOptions) error { return runController(ctx, o, version) },
		Agent:      runAgent,
		Router:     runRouter,
		Shard:      runShard,
		Server:     func(ctx context.Context, o cli.ServerOptions) error { return sample.Run(ctx, o.ID, o.Listen) },
		RunCommand: func(ctx context.Context, o cli.CommandOptions) (int, error) {
			return process.RunCommand(ctx, o.Line, process.Output{Path: o.Output, Max: o.MaxOutput}, o.Argv)
		},
		Dial: dial,
	}
}

func runBus(ctx context.Context, o cli.BusOptions) error {
	cfg := server.DefaultConfig()
	cfg.Listen, cfg.Monitor, cfg.Store, cfg.Name = o.Listen, o.Monitor, o.Store, o.Name
	cfg.Cluster, cfg.Routes = o.Cluster, o.Routes
	cfg.SyncAlways = cfg.SyncAlways && !failpoint.Broken("sync")
	server, err := server.Start(cfg, o.Log)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, server.Shutdown)()
	return server.Wait()
}

func runController(ctx context.Context, o cli.ControllerOptions, version string) error {
	conn, err := connect(ctx, o.NATS, "controller/"+o.ID, o.Log, func(cfg *bus.Config) {
		if cfg.Replicas = o.Copies; o.Copies == 0 {
			cfg.Replicas = bus.AsServers
		}
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	cfg := controller.DefaultConfig()
	cfg.ID, cfg.Version, cfg.ExpectHosts = o.ID, version, o.Hosts
	cfg.Services = []controller.ServiceConfig{{
		Name: o.Config.Service, ConfigHash: o.Config.ConfigHash, Given: o.Config.Given, Replicas: o.Config.Replicas, Overlay: o.Config.Overlay,
	}}
	for _, t := range o.Tables {
		cfg.Tables = append(cfg.Tables, controller.TableConfig(t))
	}
	for _, w := range o.Config.Servers {
		cfg.Servers = append(cfg.Servers, controller.ServersConfig(w))
	}
	open := func(ctx context.Context, name string) (controller.Bucket, error) { return conn.Bucket(ctx, name) }
	c, err := controller.New(cfg, conn, open, conn, o.Log)
	if err != nil {
		return err
	}
	return c.Run(ctx)
}

func runAgent(ctx context.Context, o cli.AgentOptions) error {
	conn, err := connect(ctx, o.NATS, "agent/"+o.Host, o.Log)
	if err != nil {
		return err
	}
	defer conn.Close()
	names := hosts{conn.Values(events.BucketHosts), conn}
	instances, err := openRuntime(ctx, o, names)
	if err != nil {
		return err
	}
	defer instances.Close()
	cfg := agent.DefaultConfig()
	cfg.Host, cfg.Dir = o.Host, o.Data
	a, err := agent.New(cfg, instances, conn.Values(events.BucketAssign), names, conn, o.Log)
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// hosts are the claims to names of hosts, in a bucket that is opened for each call: it
// may not be there yet, or have begun another life.
type hosts struct {
	kv.Values
	conn *bus.Conn
}

func (h hosts) Get(ctx context.Context, name string) (events.Entry, error) {
	b, err := h.conn.Bucket(ctx, events.BucketHosts)
	if err != nil {
		return events.Entry{}, err
	}
	return b.Get(ctx, name)
}

func (h hosts) Create(ctx context.Context, name string, value []byte) (events.Version, error) {
	b, err := h.conn.Bucket(ctx, events.BucketHosts)
	if err != nil {
		return events.Version{}, err
	}
	return b.Create(ctx, name, value)
}

func (h hosts) Update(ctx context.Context, name string, value []byte, last events.Version) (events.Version, error) {
	b, err := h.conn.Bucket(ctx, events.BucketHosts)
	if err != nil {
		return events.Version{}, err
	}
	return b.Update(ctx, name, value, last)
}

// closableRuntime is a runtime with something to release.
type closableRuntime interface {
	agent.Runtime
	io.Closer
}

func openRuntime(ctx context.Context, o cli.AgentOptions, names hosts) (closableRuntime, error) {
	if o.Runtime == cli.RuntimeDocker {
		ids, err := clusterIDs(ctx, names, o.Data, o.Log)
		if err != nil {
			return nil, err
		}
		cfg := docker.DefaultConfig()
		cfg.ClusterIDs = ids
		cfg.Host, cfg.Cluster, cfg.Image = o.Host, o.Cluster, o.Image
		cfg.Network, cfg.Advertise = o.Network, o.Advertise
		cfg.ShardImage, cfg.NATS = o.ShardImage, o.ContainerNATS
		return docker.New(cfg, o.Log)
	}
	cfg := process.DefaultConfig()
	cfg.Dir, cfg.Host, cfg.NATS = o.Data, o.Host, o.NATS
	return process.Open(ctx, cfg, o.Line, o.Log)
}

func runRouter(ctx context.Context, o cli.RouterOptions) error {
	conn, err := connect(ctx, o.NATS, "router/"+o.ID, o.Log)
	if err != nil {
		return err
	}
	defer conn.Close()
	cfg := router.DefaultConfig()
	cfg.ID, cfg.Public, cfg.Admin = o.ID, o.Public, o.Admin
	if o.Data != "" {
		cfg.Cache = filepath.Join(o.Data, "routes.json")
	}
	r, err := router.New(cfg, conn.Values(events.BucketRoutes), conn, conn, compileH, o.Log)
	if err != nil {
		return err
	}
	return r.Run(ctx)
}

func runShard(ctx context.Context, o cli.ShardOptions) (err error) {
	if o.DSN != "" {
		if err := mysql.CheckDSN(o.DSN); err != nil {
			return err
		}
	}
	debug.SetMemoryLimit(41 << 20)                      // many share a host, and the program itself takes 20 MiB more; no bound to fail at. With less the collector eats the reads: ADR 7
	runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)/2)) // the other half is its database server's
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return err
	}
	conn, err := connect(ctx, o.NATS, "shard/"+o.Name, o.Log)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer conn.Close()
	where := volume.DefaultConfig(o.Data)
	where.Engine, where.DSN = o.Engine, o.DSN
	vol := volume.New(where, o.Log)
	defer func() { err = errors.Join(err, vol.Close()) }()
	cfg := shard.DefaultConfig()
	cfg.ID, cfg.Volume, cfg.Listener, cfg.Quarantine = o.Name, filepath.Base(o.Data), listener, filepath.Join(o.Data, "aside")
	logs := func(id events.LogID) replica.Log { return conn.Log(id) }
	s, err := shard.New(cfg, vol.Open, logs, conn.Values(events.BucketRoutes), conn, o.Log)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	return s.Run(ctx)
}

func compileH(f events.CourseFunctions, slots int) (func(uint64) uint64, error) {
	fn, err := formula.Compile(f.H, f.Phi, slots, events.CourseK)
	return fn.H, err
}

// connect waits for a bus that is not there yet.
func connect(ctx context.Context, url, name string, log *slog.Logger, change ...func(*bus.Config)) (*bus.Conn, error) {
	cfg := bus.DefaultConfig()
	cfg.URL, cfg.Name, cfg.Wait = url, name, true
	for _, f := range change {
		f(&cfg)
	}
	return bus.Connect(ctx, cfg, log)
}
