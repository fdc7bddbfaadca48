// Package filelock locks files between processes, by flock: the kernel frees a
// lock when its holder ends, however it ends.
package filelock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Try makes the file at path if it is not there, and locks it until it is
// closed or the process ends; syscall.EWOULDBLOCK: somebody else has the lock.
// A holder may remove the file and unlock it then, so a lock counts only if the
// path still leads to the file that is locked.
func Try(path string, mode fs.FileMode) (*os.File, error) {
	for {
		f, err := open(path, mode)
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		if isAt(f, path) {
			return f, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
}

// open makes only a file that is not there: to open with O_CREATE what another
// user left in /tmp is refused even to root (fs.protected_regular).
func open(path string, mode fs.FileMode) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW, 0)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		f, err = os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR|syscall.O_NOFOLLOW, mode)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
	}
}

// Remove removes the file of a lock, unless somebody has removed or replaced it
// by hand, and then frees the lock.
func Remove(lock *os.File) error {
	var err error
	if isAt(lock, lock.Name()) {
		err = os.Remove(lock.Name())
	}
	return errors.Join(err, lock.Close())
}

// isAt reports whether a file is what its path leads to.
func isAt(f *os.File, path string) bool {
	have, err := f.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(path)
	return err == nil && os.SameFile(have, now)
}
