package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// withEngine runs a command that needs a Docker engine: the one that answers,
// or one that lives as long as the command. Where none can be brought, orSkip
// makes that no failure, except in CI.
func withEngine(ctx context.Context, t tools, orSkip bool, argv []string) error {
	if len(argv) == 0 {
		return errors.New("with-engine: give a command")
	}
	var env []string
	if t.missing != "" {
		e, err := bringEngine(ctx, t)
		if err != nil {
			err = fmt.Errorf("%s, and none can be brought: %w", t.missing, err)
			if orSkip && os.Getenv("CI") == "" && ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, "skipped what needs containers:", err)
				return nil
			}
			return err
		}
		defer e.stop()
		env = e.environment()
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	return cmd.Run()
}

// envEngine names the pid file of an engine of our own: tests may end that
// engine, and it is started again.
const envEngine = "RINGWAY_ENGINE_PID"

// engine is one of our own.
type engine struct {
	socket string // empty: the machine's, which was only missing its tools
	dir    string
	data   string

	mu       sync.Mutex
	cmd      *exec.Cmd // nil before the first start
	stopping bool
	ended    chan struct{} // closed when it is not started again
}

func (e *engine) environment() []string {
	if e.socket == "" {
		return nil
	}
	return []string{"DOCKER_HOST=unix://" + e.socket, "RINGWAY_SOCKET=" + e.socket, envEngine + "=" + e.pidFile()}
}

// bringEngine installs what is missing and starts an engine with a socket and
// data of its own, so that it does not meddle with one that is merely stopped.
func bringEngine(ctx context.Context, t tools) (*engine, error) {
	switch {
	case os.Getenv("DOCKER_HOST") != "":
		return nil, errors.New("DOCKER_HOST names another")
	case runtime.GOOS != "linux" || os.Getuid() != 0:
		return nil, errors.New("that takes root on Linux")
	}
	if err := installEngine(ctx, t); err != nil {
		return nil, err
	}
	if detectTools(ctx).missing == "" { // the package may have started it
		return &engine{}, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("place for the data of the engine: %w", err)
	}
	dir, err := os.MkdirTemp("", "rwe") // short: sockets lie in it
	if err != nil {
		return nil, fmt.Errorf("place for the engine: %w", err)
	}
	e := &engine{socket: filepath.Join(dir, "docker.sock"), dir: dir, data: filepath.Join(cache, "ringway-engine")}
	if err := e.start(ctx); err != nil {
		e.stop()
		return nil, err
	}
	return e, nil
}

func installEngine(ctx context.Context, t tools) error {
	_, docker := exec.LookPath("docker")
	_, dockerd := exec.LookPath("dockerd")
	if t.engine == "" && (docker != nil || dockerd != nil) {
		if err := aptGet(ctx, "docker.io"); err != nil {
			return err
		}
		if _, err := exec.LookPath("docker"); err != nil { // newer Debians have it by itself
			if err := aptGet(ctx, "docker-cli"); err != nil {
				return err
			}
		}
	}
	if findCompose(ctx) == nil {
		return aptGet(ctx, "docker-compose")
	}
	return nil
}

// start returns when the engine answers.
func (e *engine) start(ctx context.Context) error {
	there, err := os.ReadFile("/etc/docker/daemon.json")
	if err != nil {
		there = []byte("{}")
	}
	config, err := engineConfig(there)
	if err == nil {
		err = os.WriteFile(e.config(), config, 0o600)
	}
	if err != nil {
		return fmt.Errorf("start an engine: %w", err)
	}
	fmt.Fprintln(os.Stderr, "no Docker engine answers: starting one for as long as it is needed")
	if err := e.launch(); err != nil {
		return err
	}
	e.ended = make(chan struct{})
	go e.keep()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := output(ctx, "docker", "--host", "unix://"+e.socket, "version", "--format", "{{.Server.Version}}"); err == nil {
			return nil
		}
		select {
		case <-e.ended:
			return fmt.Errorf("dockerd ended: %s", e.lastLine())
		case <-ctx.Done():
			return fmt.Errorf("dockerd does not answer: %w: %s", ctx.Err(), e.lastLine())
		case <-tick.C:
		}
	}
}

func (e *engine) launch() error {
	log, err := os.OpenFile(e.log(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start an engine: %w", err)
	}
	defer log.Close()
	cmd := exec.Command("dockerd", "--config-file", e.config(), "--host", "unix://"+e.socket, "--data-root", e.data,
		"--exec-root", filepath.Join(e.dir, "x"), "--pidfile", e.pidFile())
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ctrl-C is for the command
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopping {
		return errors.New("start an engine: stopping")
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start an engine: %w", err)
	}
	e.cmd = cmd
	return nil
}

// keep starts an engine again that ended after it had lived for a while.
func (e *engine) keep() {
	defer close(e.ended)
	for {
		began := time.Now()
		_ = e.cmd.Wait() // the log says why
		if time.Since(began) < 3*time.Second || e.launch() != nil {
			return
		}
	}
}

// engineConfig is the machine's (its storage driver, its mirrors) without what
// our flags say.
func engineConfig(machine []byte) ([]byte, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(machine, &all); err != nil {
		return nil, fmt.Errorf("read /etc/docker/daemon.json: %w", err)
	}
	for _, key := range []string{"hosts", "data-root", "graph", "exec-root", "pidfile"} {
		delete(all, key)
	}
	return json.Marshal(all)
}

func (e *engine) log() string     { return filepath.Join(e.dir, "log") }
func (e *engine) config() string  { return filepath.Join(e.dir, "daemon.json") }
func (e *engine) pidFile() string { return filepath.Join(e.dir, "pid") }

func (e *engine) lastLine() string {
	b, _ := os.ReadFile(e.log()) // without it the error is shorter
	text := strings.TrimSpace(string(b))
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// stop ends our own engine; it keeps the images that were made.
func (e *engine) stop() {
	e.mu.Lock()
	e.stopping = true
	cmd := e.cmd
	e.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Signal(syscall.SIGTERM) // fails if it has ended
		select {
		case <-e.ended:
		case <-time.After(30 * time.Second):
			_ = cmd.Process.Kill()
			<-e.ended
		}
	}
	if e.dir != "" {
		_ = os.RemoveAll(e.dir) // only sockets and a log
	}
}
