// Package lifeline lets a tree of processes end with its root.
//
// The root holds the only write end of a pipe; everybody below inherits a read
// end and ends when it closes. The kernel closes the write end however the
// root ends, kill -9 included, so no signal, pid or parent has to be trusted.
// A process between the root and a reader may die without any effect, and its
// successor is given the same lifeline.
//
// It imports only the standard library; keep it that way.
package lifeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Env names the variable that carries the number of the inherited descriptor.
const Env = "RINGWAY_LIFELINE"

// Line is the read end, in a process that shall end when it closes. The
// methods of a nil Line are those of a process that has no lifeline.
type Line struct {
	file   *os.File // as inherited: what is passed on
	watch  *os.File // our own open file description: what is read
	closed chan struct{}
	done   sync.WaitGroup
}

// Root is the write end, in the process that the others shall not outlive.
type Root struct {
	read, write *os.File
}

// New makes a lifeline. Keep it while a child is started again: a new one for
// each start would end what the child before has left running.
func New() (*Root, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a lifeline: %w", err)
	}
	return &Root{read: read, write: write}, nil
}

// Attach makes cmd, which is not started yet, inherit the lifeline.
func (r *Root) Attach(cmd *exec.Cmd) { attach(cmd, r.read) }

// Close cuts the lifeline.
func (r *Root) Close() error {
	_ = r.read.Close() // only the write end means something
	return r.write.Close()
}

// ErrClosed is the cause of a Context whose root is gone.
var ErrClosed = errors.New("the supervisor is gone")

// Context ends with its parent, or with cause ErrClosed when the root is gone.
func (l *Line) Context(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	go func() {
		select {
		case <-l.Closed():
			cancel(ErrClosed)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}

// FromEnv takes over the lifeline that this process inherited; without one it
// returns nil and no error. It removes the variable, because the number means
// nothing to our children: call it once, early in main. The Line lives until
// the process ends or Close.
func FromEnv() (*Line, error) {
	text, ok := os.LookupEnv(Env)
	if !ok {
		return nil, nil
	}
	if err := os.Unsetenv(Env); err != nil {
		return nil, fmt.Errorf("take over the lifeline: %w", err)
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < 3 {
		return nil, fmt.Errorf("take over the lifeline: %s=%q is no inherited file descriptor", Env, text)
	}
	// Anything but a pipe would read as closed, or never close.
	var stat syscall.Stat_t
	if err := syscall.Fstat(fd, &stat); err != nil {
		return nil, fmt.Errorf("take over the lifeline: %s=%d: %w", Env, fd, err)
	}
	if stat.Mode&syscall.S_IFMT != syscall.S_IFIFO {
		return nil, fmt.Errorf("take over the lifeline: %s=%d is no pipe", Env, fd)
	}
	syscall.CloseOnExec(fd)
	return open(os.NewFile(uintptr(fd), "lifeline"))
}

// open watches a private open file description: O_NONBLOCK belongs to the
// description, and the inherited one is shared with every other process.
func open(file *os.File) (*Line, error) {
	path := fmt.Sprintf("/proc/self/fd/%d", file.Fd())
	watch, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("watch the lifeline: %w", err)
	}
	l := &Line{file: file, watch: watch, closed: make(chan struct{})}
	l.done.Go(l.read)
	return l, nil
}

// Closed is closed when the root is gone. Without a lifeline it never is.
func (l *Line) Closed() <-chan struct{} {
	if l == nil {
		return nil
	}
	return l.closed
}

// Attach makes cmd, which is not started yet, inherit the same lifeline.
func (l *Line) Attach(cmd *exec.Cmd) {
	if l != nil {
		attach(cmd, l.file)
		return
	}
	cmd.Env = without(cmd.Environ())
}

// Close stops watching. Closed stays as it is.
func (l *Line) Close() error {
	if l == nil {
		return nil
	}
	err := l.watch.Close()
	l.done.Wait()
	_ = l.file.Close() // a read end: nothing is lost
	return err
}

func (l *Line) read() {
	var b [64]byte
	for {
		n, err := l.watch.Read(b[:])
		if errors.Is(err, os.ErrClosed) { // by Close
			return
		}
		if n == 0 || err != nil { // bytes mean nothing here; only the end does
			close(l.closed)
			return
		}
	}
}

func attach(cmd *exec.Cmd, file *os.File) {
	cmd.Env = append(without(cmd.Environ()), fmt.Sprintf("%s=%d", Env, 3+len(cmd.ExtraFiles)))
	cmd.ExtraFiles = append(cmd.ExtraFiles, file)
}

// without drops the variable: a number that this process was given means
// nothing in another.
func without(env []string) []string {
	return slices.DeleteFunc(env, func(kv string) bool { return strings.HasPrefix(kv, Env+"=") })
}
