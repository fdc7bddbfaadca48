// Package server is an embedded bus: a NATS server with JetStream that syncs
// what it acknowledges.
package server

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sys/unix"

	"ringway/events"
	"ringway/internal/filelock"
)

// Config is where an embedded bus listens and keeps its data.
type Config struct {
	Listen     string   // host:port for clients; port 0 picks one
	Monitor    string   // host:port of the monitoring endpoints; empty: none
	Store      string   // directory of the streams; one server at a time
	Name       string   // of this server, unique in a cluster
	SyncAlways bool     // fsync before every acknowledgement
	Cluster    string   // host:port for the other bus servers; empty: alone
	Routes     []string // nats://host:port of the bus servers; its own may be among them
}

// DefaultConfig is a bus for one machine. Store has to be set.
func DefaultConfig() Config {
	return Config{
		Listen: "127.0.0.1:4222",
		Name:   "ringway",
		// NATS's own default syncs every two minutes: a power cut then loses
		// what was acknowledged.
		SyncAlways: true,
	}
}

const (
	clusterName = "ringway"
	// A client that is stopped or cut off is forgotten after the pings below
	// went unanswered; until then requests may be sent to a frozen leader.
	serverPing     = 2 * time.Second
	serverPingsOut = 2
	// How long a client may not take what is sent to it.
	writeDeadline = 5 * time.Second
	// Else nats-server takes three quarters of what is free when it starts for
	// its limit, for as long as it runs: nothing on a disk that was full then.
	maxStore = 1 << 50
	// How often the server looks whether its JetStream is still there.
	watchdogEvery = time.Second
	// How long requests that have not ended may delay a shutdown.
	maxRequestWait = time.Second
)

// ErrStoreInUse means that another bus server holds the store.
var ErrStoreInUse = errors.New("store is in use")

// Server is an embedded NATS server with JetStream.
type Server struct {
	cfg  Config
	log  *slog.Logger
	nats *natsserver.Server
	lock *os.File
	stop chan struct{}
	once sync.Once
	done chan struct{}
	err  error // why it ended by itself; read after done
}

// Start starts a bus and returns when it accepts clients. Nothing in the
// store is touched if the store or an address is in use.
func Start(cfg Config, log *slog.Logger) (*Server, error) {
	opts, err := serverOptions(cfg)
	if err != nil {
		return nil, err
	}
	for _, a := range []struct{ address, flag string }{{cfg.Listen, "listen"}, {cfg.Monitor, "monitor"}, {cfg.Cluster, "cluster-listen"}} {
		if a.address == "" {
			continue
		}
		if err := free(a.address, a.flag); err != nil {
			return nil, err
		}
	}
	lock, err := lockStore(cfg.Store)
	if err != nil {
		return nil, err
	}
	err = errors.Join(checkMode(cfg), checkName(cfg))
	var ns *natsserver.Server
	if err == nil {
		ns, err = launch(opts, log)
		if err != nil {
			err = fmt.Errorf("start bus on %s: %w", cfg.Listen, err)
		}
	}
	if err != nil {
		_ = lock.Close() // the error that matters is why it did not start
		return nil, err
	}
	s := &Server{cfg: cfg, log: log, nats: ns, lock: lock, stop: make(chan struct{}), done: make(chan struct{})}
	go s.watchdog()
	log.Info("bus started", events.KeyAddress, s.URL(), "store", cfg.Store)
	return s, nil
}

// URL is where clients connect to.
func (s *Server) URL() string { return s.nats.ClientURL() }

// MonitorURL is the root of the monitoring endpoints, if there are any.
func (s *Server) MonitorURL() string { return "http://" + s.nats.MonitorAddr().String() }

// Shutdown ends the server and returns when it has ended.
func (s *Server) Shutdown() {
	s.once.Do(func() { close(s.stop) })
	<-s.done
}

// Wait blocks until the server has ended. The error is why, if nobody asked
// it to: JetStream, or one stream of it, switches itself off when the disk is
// full, and only a new start brings it back.
func (s *Server) Wait() error {
	<-s.done
	return s.err
}

func (s *Server) watchdog() {
	defer close(s.done)
	tick := time.NewTicker(watchdogEvery)
	defer tick.Stop()
	for s.err == nil {
		select {
		case <-s.stop:
			s.end()
			return
		case <-tick.C:
			if what := s.broken(); what != "" {
				s.err = fmt.Errorf("bus on %s: %s; is the disk of %s full or read-only?", s.cfg.Listen, what, s.cfg.Store)
			}
		}
	}
	s.log.Error("bus gives up", events.KeyError, s.err)
	s.end()
}

// broken names what has switched itself off. A stream does so after a failed
// write: it refuses all others, also when the disk is well again.
func (s *Server) broken() string {
	if !s.nats.JetStreamEnabled() {
		return "JetStream has switched itself off"
	}
	for _, e := range s.nats.Healthz(&natsserver.HealthzOptions{Details: true}).Errors {
		if strings.Contains(e.Error, "write error") {
			return e.Error
		}
	}
	return ""
}

func (s *Server) end() {
	s.awaitRequests()
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
	_ = s.lock.Close() // the lock goes with the descriptor, whatever close returns
}

// awaitRequests disconnects the clients and waits until their requests to JetStream
// have ended. The Shutdown of nats-server stops the streams of the account, and a
// stream is added to those when it is complete: one that a request is creating would
// use the store, and its goroutines, after the server has ended.
func (s *Server) awaitRequests() {
	for end := time.Now().Add(maxRequestWait); time.Now().Before(end); time.Sleep(time.Millisecond) {
		clients, err := s.nats.Connz(&natsserver.ConnzOptions{Limit: math.MaxInt})
		if err != nil {
			return
		}
		for _, c := range clients.Conns {
			_ = s.nats.DisconnectClientByID(c.Cid) // it may be gone
		}
		js, err := s.nats.Jsz(nil)
		if err != nil || len(clients.Conns) == 0 && js.API.Inflight == 0 {
			return
		}
	}
}

func serverOptions(cfg Config) (*natsserver.Options, error) {
	opts := &natsserver.Options{
		ServerName: cfg.Name,
		JetStream:  true, StoreDir: cfg.Store, JetStreamMaxStore: maxStore, SyncAlways: cfg.SyncAlways, SyncInterval: 2 * time.Minute,
		PingInterval: serverPing, MaxPingsOut: serverPingsOut, WriteDeadline: writeDeadline,
		NoSigs: true, DisableJetStreamBanner: true,
	}
	if cfg.Store == "" {
		return nil, errors.New("start bus: no store given")
	}
	var err error
	if opts.Host, opts.Port, err = hostPort(cfg.Listen); err != nil {
		return nil, fmt.Errorf("start bus: listen: %w", err)
	}
	if cfg.Monitor != "" {
		if opts.HTTPHost, opts.HTTPPort, err = hostPort(cfg.Monitor); err != nil {
			return nil, fmt.Errorf("start bus: monitor: %w", err)
		}
	}
	if cfg.Cluster == "" {
		return opts, nil
	}
	opts.Cluster.Name = clusterName
	if opts.Cluster.Host, opts.Cluster.Port, err = hostPort(cfg.Cluster); err != nil {
		return nil, fmt.Errorf("start bus: cluster: %w", err)
	}
	for _, r := range cfg.Routes {
		u, err := url.Parse(r)
		if err != nil {
			return nil, fmt.Errorf("start bus: route %q: %w", r, err)
		}
		opts.Routes = append(opts.Routes, u)
	}
	return opts, nil
}

// hostPort splits an address; nats-server calls a port that it may pick -1.
func hostPort(address string) (string, int, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("address %q: want host:port", address)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("address %q: the port is no number from 0 to 65535", address)
	}
	if n == 0 {
		return host, natsserver.RANDOM_PORT, nil
	}
	return host, int(n), nil
}

// free refuses an address that is taken, before the store is touched:
// nats-server itself recovers all streams before it listens.
func free(address, flag string) error {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("start bus: %s is in use by another program; choose another address with --%s: %w", address, flag, err)
	}
	if err != nil {
		return fmt.Errorf("start bus: cannot listen on %s; choose another address with --%s: %w", address, flag, err)
	}
	return l.Close()
}

// lockStore makes the store and keeps others out until the file is closed,
// by whatever end of the process. nats-server has no such lock.
func lockStore(store string) (*os.File, error) {
	if err := os.MkdirAll(store, 0o700); err != nil {
		return nil, fmt.Errorf("start bus: %w", err)
	}
	f, err := filelock.Try(filepath.Join(store, "lock"), 0o600)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, fmt.Errorf("start bus: %s: %w by another bus; choose another directory or end that one", store, ErrStoreInUse)
	case err != nil:
		return nil, fmt.Errorf("start bus: %w", err)
	}
	return f, nil
}

// syncStore makes durable what is in a store. A bus that was killed between a
// write and its sync leaves what the next one takes for stored: it delivers it,
// and answers who sends it again that it is a duplicate.
func syncStore(store string) error {
	err := filepath.WalkDir(store, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() && !entry.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
	if err != nil {
		return fmt.Errorf("sync what a bus before left: %w", err)
	}
	return nil
}

// launch starts nats-server, which reports what it cannot do only to its log.
func launch(opts *natsserver.Options, log *slog.Logger) (*natsserver.Server, error) {
	if opts.SyncAlways {
		if err := syncStore(opts.StoreDir); err != nil {
			return nil, err
		}
	}
	ns, err := natsserver.NewServer(opts)
	if err != nil {
		return nil, err
	}
	logger := &serverLog{log: log}
	ns.SetLoggerV2(logger, false, false, false)
	ns.Start()
	if err := logger.fatal(); err != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
		return nil, err
	}
	return ns, nil
}
