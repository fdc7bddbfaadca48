package mysqld

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"
)

// process is one life of a server.
type process struct {
	pid  int
	done chan struct{} // closed when it has ended
	cmd  *exec.Cmd
	err  error // valid after done
}

// start starts cmd so that it ends with us, however we end. The kernel ties
// that to the thread that starts it, so one goroutine holds its thread for as
// long as the process lives.
func start(cmd *exec.Cmd) (*process, error) {
	cmd.SysProcAttr = attributes()
	p := &process{done: make(chan struct{}), cmd: cmd}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	p.pid = cmd.Process.Pid
	return p, nil
}

// stop asks the server to end, and makes it after grace.
func (p *process) stop(grace time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails if it has ended
	_ = p.cmd.Process.Signal(syscall.SIGCONT) // or it would sleep through it
	select {
	case <-p.done:
	case <-time.After(grace):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// end is how it ended.
func (p *process) end() string {
	if p.err != nil {
		return p.err.Error()
	}
	return "ended by itself"
}

// ping asks the server for an answer, any.
func (s *Supervisor) ping(ctx context.Context) error {
	if _, err := os.Stat(s.socket); errors.Is(err, fs.ErrNotExist) {
		return errors.New("it does not listen yet")
	}
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.User = "unix", s.socket, "root"
	cfg.Timeout, cfg.ReadTimeout, cfg.WriteTimeout = time.Second, 5*time.Second, time.Second
	cfg.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	return db.PingContext(ctx)
}

// orphan is the process of pidFile if it runs with that argument, or 0.
func orphan(pidFile, argument string) (int, error) {
	b, err := os.ReadFile(pidFile)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 1 {
		return 0, nil //nolint:nilerr // an incomplete file names nobody
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !bytes.Contains(line, []byte(argument+"\x00")) {
		return 0, nil //nolint:nilerr // no such process
	}
	return pid, nil
}
