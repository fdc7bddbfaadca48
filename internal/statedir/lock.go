package statedir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"ringway/internal/filelock"
)

// ErrInUse: another process has the directory.
var ErrInUse = errors.New("in use by another process")

// Dying is the patience with a holder that is just being killed.
const Dying = 500 * time.Millisecond

const pause = 20 * time.Millisecond // between two attempts

// Take takes the lock named name of dir, which exists, and holds it until the
// file is closed or the process ends: the kernel keeps it. It waits for patience at most, and not
// after ctx has ended; then the error is ErrInUse and names the holder.
func Take(ctx context.Context, dir, name string, patience time.Duration) (*os.File, error) {
	path := filepath.Join(dir, name)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	file, err := filelock.Try(path, 0o600)
	for errors.Is(err, syscall.EWOULDBLOCK) {
		select {
		case <-time.After(pause):
			file, err = filelock.Try(path, 0o600)
			continue
		case <-ctx.Done():
		}
		holder, _ := os.ReadFile(path) // only for the message
		return nil, fmt.Errorf("lock directory %s: %w (pid %s); stop it, or use another directory", dir, ErrInUse, strings.TrimSpace(string(holder)))
	}
	if err != nil {
		return nil, fmt.Errorf("lock directory %s: %w", dir, err)
	}
	// The pid is for people; the lock is what counts, so a full disk is no reason to fail.
	if err := file.Truncate(0); err == nil {
		_, _ = file.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	}
	return file, nil
}
