package supervise

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const unixPrefix = "unix:"

// socketMode: who may write to the file may connect.
const socketMode = 0o660

// UnixPath is the PATH of an address unix:PATH.
func UnixPath(address string) (path string, ok bool) {
	return strings.CutPrefix(address, unixPrefix)
}

// CheckUnixPath refuses a path that no socket can have.
func CheckUnixPath(path string) error {
	maxLen := len(syscall.RawSockaddrUnix{}.Path) - 1 // and a NUL
	if len(path) > maxLen {
		return fmt.Errorf("socket %s: the path has %d bytes, and that of a socket at most %d", path, len(path), maxLen)
	}
	return nil
}

// errAnswers is a socket at which somebody accepts, or will.
var errAnswers = errors.New("in use by another program")

// listenUnix opens a socket at an absolute path. The file of a program that is
// gone is replaced; anything else that is there is refused and left as it is.
func listenUnix(path, flag string) (*Socket, error) {
	s, err := bindUnix(path)
	for attempts := 0; errors.Is(err, syscall.EADDRINUSE) && attempts < 3; attempts++ {
		if err = clearStale(path); err == nil {
			s, err = bindUnix(path)
		}
	}
	if err != nil {
		return nil, explainUnix(path, flag, err)
	}
	return s, nil
}

// narrow makes files that are never wider than socketMode, not even before
// their chmod: Linux gives them the mode of the socket, less the umask.
var narrow = net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), socketMode) }) // other systems have no such mode
}}

func bindUnix(path string) (*Socket, error) {
	if err := CheckUnixPath(path); err != nil {
		return nil, err
	}
	l, err := narrow.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // it would remove whatever is at the path by then
	made, err := os.Lstat(path)
	if err == nil {
		err = os.Chmod(path, socketMode) // no less either
	}
	if err != nil {
		return nil, errors.Join(err, l.Close(), os.Remove(path))
	}
	return &Socket{l, &socketFile{path, made}}, nil
}

// A socket between bind and listen refuses as a dead one does: nobody is in
// there for as long as this.
const (
	refusals    = 5
	refusalWait = 20 * time.Millisecond
)

// clearStale removes the socket at path if nobody has it any more.
func clearStale(path string) error {
	found, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case found.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("there is %s, which is no socket and is left alone", kind(found))
	}
	for range refusals {
		c, err := net.Dial("unix", path)
		switch {
		case err == nil:
			return errors.Join(errAnswers, c.Close())
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EPROTOTYPE): // its queue is full; it is of another type
			return errAnswers
		case !errors.Is(err, syscall.ECONNREFUSED):
			return fmt.Errorf("whether anybody has it cannot be told: %w", err)
		}
		time.Sleep(refusalWait)
	}
	return (&socketFile{path, found}).remove()
}

func kind(i fs.FileInfo) string {
	switch i.Mode().Type() {
	case 0:
		return "a file"
	case fs.ModeDir:
		return "a directory"
	case fs.ModeSymlink:
		return "a symbolic link"
	}
	return "something"
}

// socketFile is one socket's file, which another socket's may have replaced.
type socketFile struct {
	path string
	made fs.FileInfo
}

// same tells whether a file is this one. Its number alone does not: a file
// system may give it to the next one at once.
func (f *socketFile) same(other fs.FileInfo) bool {
	return os.SameFile(f.made, other) && f.made.ModTime().Equal(other.ModTime())
}

// remove removes the file if it is still this one. It is renamed first, so that
// what is looked at is what is removed: between a look and a removal another
// program may put its own socket there.
func (f *socketFile) remove() error {
	found, err := os.Lstat(f.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !f.same(found) {
		return nil
	}
	if err != nil {
		return err
	}
	aside := filepath.Join(filepath.Dir(f.path), ".ringway-"+rand.Text())
	if err := os.Rename(f.path, aside); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if found, err = os.Lstat(aside); err == nil && !f.same(found) {
		err = os.Link(aside, f.path) // fails rather than replace a third one
	}
	return errors.Join(err, os.Remove(aside))
}

func explainUnix(path, flag string, err error) error {
	hint := fmt.Sprintf("choose another with %s unix:PATH", flag)
	if sys := (*os.SyscallError)(nil); errors.As(err, &sys) {
		err = sys // without what net says of the address
	}
	dir := filepath.Dir(path)
	switch {
	case errors.Is(err, errAnswers), errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("socket %s is in use by another program; %s", path, hint)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("socket %s: there is no directory %s; make it, or %s", path, dir, hint)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("socket %s: not permitted: %w; %s", path, err, hint)
	}
	return fmt.Errorf("socket %s: %w; %s", path, err, hint)
}
