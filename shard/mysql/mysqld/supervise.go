package mysqld

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"ringway/events"
)

// Config is what a private server needs.
type Config struct {
	Dir         string        // everything of the server is in it
	Connections int           // most at once
	BufferPool  int64         // bytes of InnoDB's cache
	Grace       time.Duration // for a clean shutdown, before it is killed
	BackOff     time.Duration // before the first restart after a crash; doubles
	MaxBackOff  time.Duration
}

// DefaultConfig is small: a shard server may share its host with many.
func DefaultConfig(dir string) Config {
	return Config{Dir: dir, Connections: 24, BufferPool: 128 << 20, Grace: 30 * time.Second, BackOff: 100 * time.Millisecond, MaxBackOff: 10 * time.Second}
}

// Supervisor keeps one server running.
type Supervisor struct {
	cfg    Config
	server Server
	socket string
	log    *slog.Logger

	mu      sync.Mutex
	ready   chan struct{} // closed while the server answers
	pid     int
	trouble error // why it does not
}

// New looks at nothing and starts nothing.
func New(cfg Config, server Server, log *slog.Logger) (*Supervisor, error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("directory of %s: %w", server, err)
	}
	cfg.Dir = dir
	return &Supervisor{cfg: cfg, server: server, socket: socketFor(dir), log: log, ready: make(chan struct{})}, nil
}

// Run makes the data directory if there is none and keeps the server running
// until ctx ends, then shuts it down. It returns an error only if it could
// never have begun.
func (s *Supervisor) Run(ctx context.Context) error {
	if err := s.initialise(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("run %s: %w", s.server, err)
	}
	defer s.tidy()
	wait := s.cfg.BackOff
	for ctx.Err() == nil {
		began := time.Now()
		err := s.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > s.cfg.MaxBackOff {
			wait = s.cfg.BackOff
		}
		s.log.Warn("database server ended", events.KeyError, err, "restart_in", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, s.cfg.MaxBackOff)
	}
	return nil
}

// tidy removes the socket's directory, which may be one among everybody's
// temporary files.
func (s *Supervisor) tidy() {
	for _, path := range []string{s.socket, s.socketLock(), filepath.Dir(s.socket)} {
		_ = os.Remove(path) // the next Run makes do with what is left
	}
}

// Ready returns when the server answers.
func (s *Supervisor) Ready(ctx context.Context) error {
	s.mu.Lock()
	ready := s.ready
	s.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.trouble != nil { // on one line
			return fmt.Errorf("wait for %s: %w: %w", s.server, ctx.Err(), s.trouble)
		}
		return fmt.Errorf("wait for %s: %w", s.server, ctx.Err())
	}
}

// PID is the server's process; 0 while there is none.
func (s *Supervisor) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pid
}

// once runs the server for one life.
func (s *Supervisor) once(ctx context.Context) error {
	if err := s.endOrphan(ctx); err != nil {
		return s.explain(err)
	}
	if err := s.unlock(); err != nil {
		return s.explain(err)
	}
	if info, err := os.Stat(s.logFile()); err == nil && info.Size() > 16<<20 {
		if err := os.Rename(s.logFile(), s.logFile()+".old"); err != nil {
			return s.explain(err)
		}
	}
	p, err := start(exec.Command(s.server.Path, s.settings()...)) //nolint:noctx // it is ended gracefully, below
	if err != nil {
		return s.explain(err)
	}
	s.set(p.pid, nil)
	answering, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { s.awaitReady(answering, p.pid) })
	select {
	case <-p.done:
	case <-ctx.Done():
		p.stop(s.cfg.Grace)
	}
	cancel()
	watch.Wait()
	if ctx.Err() != nil {
		s.set(0, errors.New("shut down"))
		return nil
	}
	return s.explain(fmt.Errorf("%s: %s", p.end(), reason(tail(s.logFile()))))
}

// explain keeps for Ready why the server does not answer.
func (s *Supervisor) explain(err error) error {
	s.set(0, err)
	return err
}

func (s *Supervisor) set(pid int, trouble error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pid, s.trouble = pid, trouble
	select {
	case <-s.ready:
		s.ready = make(chan struct{}) // it answered until now
	default:
	}
}

// awaitReady asks until the server answers. Recovery after a crash may take
// long; a server that is at it is left alone.
func (s *Supervisor) awaitReady(ctx context.Context, pid int) {
	began := time.Now()
	for {
		err := s.ping(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			break
		}
		s.mu.Lock()
		s.trouble = err
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-time.After(20 * time.Millisecond): // between two pings
		}
	}
	s.log.Info("database server ready", "server", s.server.String(), events.KeyPID, pid, "after", time.Since(began))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = nil
	close(s.ready)
}

// endOrphan ends a server that a supervisor before us left on our data. That
// takes a kernel that lost the parent's death, or another system than Linux.
func (s *Supervisor) endOrphan(ctx context.Context) error {
	pid, err := orphan(s.pidFile(), "--datadir="+s.data())
	if err != nil || pid == 0 {
		return err
	}
	s.log.Warn("ending a database server that was left over", events.KeyPID, pid)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("end process %d on our data: %w", pid, err)
	}
	for ctx.Err() == nil {
		if still, err := orphan(s.pidFile(), "--datadir="+s.data()); err != nil || still != pid {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
	return ctx.Err()
}

// unlock removes the lock of the socket that a killed server left; there is
// nobody else on our data. MySQL does not start as long as anybody has the pid
// in it. Pids of a container begin anew with its next life, so that may be a
// thread of ours, for good.
func (s *Supervisor) unlock() error {
	if err := os.Remove(s.socketLock()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the lock of a server that is gone: %w", err)
	}
	return nil
}

// tail is the end of a file, if it can be read.
func tail(file string) []byte {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return []byte(err.Error())
	}
	return b[max(0, len(b)-8<<10):]
}
