package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"ringway/internal/filelock"
)

const unixPrefix = "unix:"

// socketMode: who may write to the file may connect.
const socketMode = 0o660

// lockSuffix is what the name of the lock file has beside that of the socket.
const lockSuffix = ".ringway-lock"

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

// listenUnix opens a socket at an absolute path. Its owner holds a lock file
// beside it for as long as it has the socket, and nobody without that lock
// binds or removes the socket. The file that a program left which is gone is
// replaced; anything else that is there is refused and left as it is.
func listenUnix(path, flag string) (*Socket, error) {
	s, err := bindUnix(path)
	if err != nil {
		return nil, explainUnix(path, flag, err)
	}
	return s, nil
}

func bindUnix(path string) (*Socket, error) {
	if err := CheckUnixPath(path); err != nil {
		return nil, err
	}
	if err := checkUnixFile(path); err != nil { // before a lock file is made for nothing
		return nil, err
	}
	lock, err := filelock.Try(path+lockSuffix, socketMode)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errAnswers
	}
	if err != nil {
		return nil, err
	}
	_ = lock.Chmod(socketMode) // for all who may replace the socket, whatever the umask; one that another user left is his to change
	f := &socketFile{path: path, lock: lock}
	err = removeStale(path)
	var l net.Listener
	if err == nil {
		l, err = withMode.Listen(context.Background(), "unix", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.remove())
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // it would remove whatever is at the path by then
	if f.info, err = os.Lstat(path); err == nil {
		err = os.Chmod(path, socketMode) // the umask may have taken some of the mode away
	}
	if err != nil {
		return nil, errors.Join(err, l.Close(), f.remove())
	}
	return &Socket{l, f}, nil
}

// withMode makes files that are never wider than socketMode, not even before
// their chmod: Linux gives them the mode of the socket, less the umask.
var withMode = net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), socketMode) }) // other systems have no such mode
}}

// checkUnixFile refuses what is at path if it is no socket, or if somebody
// accepts connections there.
func checkUnixFile(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("there is %s, which is no socket and is left alone", kind(info))
	}
	c, err := net.Dial("unix", path)
	switch {
	case err == nil:
		return errors.Join(errAnswers, c.Close())
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EPROTOTYPE): // its queue is full; it is of another type
		return errAnswers
	}
	return fmt.Errorf("whether anybody has it cannot be told: %w", err)
}

// removeStale removes the socket that a dead owner left at path. The caller has
// the lock, so no other ringway binds there meanwhile.
func removeStale(path string) error {
	if err := checkUnixFile(path); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
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

// socketFile is the file of a socket that we have, with the lock beside it.
type socketFile struct {
	path string
	info fs.FileInfo // nil until it is bound
	lock *os.File
}

// remove removes the file, unless somebody has put another one in its place by
// hand, and then the lock. It may be called again.
func (f *socketFile) remove() error {
	if f.lock == nil {
		return nil
	}
	var err error
	if f.info != nil {
		// A file system may give the inode number of a removed file to the next one.
		found, missing := os.Lstat(f.path)
		if missing == nil && os.SameFile(f.info, found) && f.info.ModTime().Equal(found.ModTime()) {
			err = os.Remove(f.path)
		}
	}
	err = errors.Join(err, filelock.Remove(f.lock))
	f.lock = nil
	return err
}

func explainUnix(path, flag string, err error) error {
	hint := fmt.Sprintf("choose another with %s unix:PATH", flag)
	if sys := (*os.SyscallError)(nil); errors.As(err, &sys) {
		err = sys // without the address, which net adds
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
