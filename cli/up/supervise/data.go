package supervise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ringway/internal/filelock"
	"ringway/internal/proc"
)

// DataVersion is the layout of the data directory: bus/, hosts/<host>/,
// router/ and logs/ beside VERSION and LOCK.
const DataVersion = "1"

const versionTemp = "VERSION.new"

// dying is how long a process that was killed may still be seen alive.
const dying = 300 * time.Millisecond

// Data is a data directory that nobody else uses.
type Data struct {
	Dir  string
	lock *os.File
}

// ErrInUse is a data directory that another supervisor holds.
var ErrInUse = errors.New("in use")

// OpenData takes the directory, and makes it if it is not there. One that is
// not ours, of another version or in use is refused and left as it is.
//
// The children inherit the lock (Lock), so it is free only when the last of an
// earlier run has ended; if all that run has left is children on their way
// out, OpenData calls waiting and waits for them until ctx ends.
func OpenData(ctx context.Context, dir string, waiting func()) (*Data, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", dir, err)
	}
	if err := inspect(dir); err != nil {
		return nil, fmt.Errorf("data directory %s: %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("data directory: %w; choose another with --data", err)
	}
	lock, err := lockFile(ctx, filepath.Join(dir, "LOCK"), waiting)
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", dir, err)
	}
	d := &Data{Dir: dir, lock: lock}
	if err := d.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("data directory %s: %w", dir, err), d.Close())
	}
	return d, nil
}

// Path is a place inside the directory.
func (d *Data) Path(elem ...string) string {
	return filepath.Join(append([]string{d.Dir}, elem...)...)
}

// Lock is what children inherit so that the directory counts as in use until
// the last of them has ended.
func (d *Data) Lock() *os.File { return d.lock }

// Close lets others use the directory.
func (d *Data) Close() error { return d.lock.Close() }

// inspect refuses what is there and is not ours, without touching it.
func inspect(dir string) error {
	names, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w; choose another with --data", err)
	}
	version, err := os.ReadFile(filepath.Join(dir, "VERSION"))
	switch got := strings.TrimSpace(string(version)); {
	case errors.Is(err, fs.ErrNotExist):
		for _, n := range names {
			if n.Name() != "LOCK" && n.Name() != versionTemp { // all that a start may leave that was cut short
				return errors.New("it holds files that are not Ringway's (there is no VERSION among them); choose an empty or new directory with --data")
			}
		}
		return nil
	case err != nil:
		return err
	case got != DataVersion:
		return fmt.Errorf("its layout is version %q, this ringway knows version %q; run the release that wrote it, or choose another directory with --data", clip(got), DataVersion)
	}
	return nil
}

// lockFile takes the lock, or returns an error that names its holder.
func lockFile(ctx context.Context, path string, waiting func()) (*os.File, error) {
	began := time.Now()
	for reported := false; ; {
		f, err := filelock.Try(path, 0o640)
		switch {
		case err == nil:
			return f, nil
		case errors.Is(err, fs.ErrNotExist): // its directory, by somebody who had the lock
			return nil, fmt.Errorf("%s was removed a moment ago; start again", filepath.Dir(path))
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return nil, err
		}
		pid, started := holder(path)
		lives := pid == 0 || startOf(pid) == started
		if ctx.Err() != nil || lives && time.Since(began) > dying {
			return nil, inUse(path, pid, lives)
		}
		if !lives && !reported {
			reported = true
			waiting()
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func inUse(path string, pid int, lives bool) error {
	switch {
	case pid == 0:
		return fmt.Errorf("%w by another ringway; stop it, or choose another directory with --data", ErrInUse)
	case lives:
		return fmt.Errorf("%w by process %d; stop it, or choose another directory with --data", ErrInUse, pid)
	}
	return fmt.Errorf("%w by what process %d left running, which has not ended; see %s", ErrInUse, pid, filepath.Join(filepath.Dir(path), "logs"))
}

// prepare makes the layout under the lock.
func (d *Data) prepare() error {
	// inspect ran before the lock was ours.
	if err := inspect(d.Dir); err != nil {
		return err
	}
	if err := d.lock.Truncate(0); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(d.lock, "%d %s\n", os.Getpid(), startOf(os.Getpid())); err != nil {
		return err
	}
	if err := d.writeVersion(); err != nil {
		return err
	}
	for _, sub := range []string{"bus", "hosts", "router", "logs"} {
		if err := os.MkdirAll(d.Path(sub), 0o750); err != nil {
			return err
		}
	}
	return nil
}

// writeVersion puts VERSION in place whole or not at all: a torn one would
// make the directory a stranger's at the next start.
func (d *Data) writeVersion() error {
	path := d.Path("VERSION")
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	temp := d.Path(versionTemp)
	f, err := os.Create(temp)
	if err != nil {
		return err
	}
	_, err = f.WriteString(DataVersion + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return os.Rename(temp, path)
}

// holder is the process that took the lock last, and when it started; 0 if
// the file does not name it.
func holder(path string) (pid int, started string) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, ""
	}
	text, started, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	if pid, err = strconv.Atoi(text); err != nil || pid < 1 {
		return 0, ""
	}
	return pid, started
}

// startOf is when a process started, in ticks since boot, so that a recycled
// pid is not taken for its former owner. It is "gone" for one that does not
// run, a zombie included.
func startOf(pid int) string {
	stat, err := proc.Read(pid)
	if err != nil || stat.Dead {
		return "gone"
	}
	return strconv.FormatUint(stat.Ticks, 10)
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}
