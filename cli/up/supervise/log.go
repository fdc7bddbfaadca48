package supervise

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
)

// MaxLog is the size at which a log file is moved aside; a role keeps at most
// two such files.
const MaxLog = 16 << 20

// openLog opens a log for a new life of its child. Append mode lets TrimLog
// cut the file under a child that writes.
func openLog(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
}

// RotateLog moves the log of an earlier run aside.
func RotateLog(path string) error {
	err := os.Rename(path, path+".1")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// TrimLog bounds a log that is being written to: beyond limit its content is
// copied aside and the file is cut. Lines written in between are lost.
func TrimLog(path string, limit int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // read, or cut: nothing is buffered
	if stat, err := f.Stat(); err != nil || stat.Size() <= limit {
		return err
	}
	old, err := os.Create(path + ".1")
	if err == nil {
		_, err = io.Copy(old, f)
		err = errors.Join(err, old.Close())
	}
	// The bound holds even where the copy does not, as on a full disk.
	return errors.Join(err, f.Truncate(0))
}

// LastLines are the last n lines of a log, for a person to read.
func LastLines(path string, n int) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }() // only read
	const tail = 16 << 10
	if stat, err := f.Stat(); err == nil && stat.Size() > tail {
		_, _ = f.Seek(-tail, io.SeekEnd) // at worst the lines are the first ones
	}
	b, _ := io.ReadAll(io.LimitReader(f, tail)) // what could be read is shown
	text := strings.TrimSpace(string(b))
	if text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	return lines[max(0, len(lines)-n):]
}
