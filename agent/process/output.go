package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"ringway/internal/statedir"
)

// output is the log of one instance: PATH, and before it PATH.old. Both together
// take at most limit bytes, whatever is written.
type output struct {
	path  string
	limit int64
	file  *os.File
	size  int64
	lost  int64 // bytes that could not be written since the last that could
	why   error
}

// openOutput goes on with the log that is there.
func openOutput(path string, limit int64) (*output, error) {
	o := &output{path: path, limit: max(limit, 2)}
	if err := o.open(0); err != nil {
		return nil, err
	}
	info, err := o.file.Stat()
	if err != nil {
		return nil, errors.Join(err, o.file.Close())
	}
	o.size = info.Size()
	return o, nil
}

func (o *output) open(flags int) (err error) {
	o.file, err = os.OpenFile(o.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|flags, 0o644)
	return err
}

// write never fails: a full disk must not stop the program that prints. What is
// lost is counted, and told in the log as soon as that can be written.
func (o *output) write(p []byte) {
	if o.lost > 0 {
		note := fmt.Appendf(nil, "ringway: %d bytes of output are lost here: %v\n", o.lost, o.why)
		if o.put(note) != nil {
			o.lost += int64(len(p))
			return
		}
		o.lost = 0
	}
	if err := o.put(p); err != nil {
		o.lost, o.why = o.lost+int64(len(p)), err
	}
}

func (o *output) put(p []byte) error {
	for len(p) > 0 {
		if o.size >= o.limit/2 {
			if err := o.rotate(); err != nil {
				return err
			}
		}
		n, err := o.file.Write(p[:min(int64(len(p)), o.limit/2-o.size)])
		o.size += int64(n)
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

func (o *output) rotate() error {
	if err := os.Rename(o.path, o.path+".old"); err != nil {
		return err
	}
	full := o.file
	if err := o.open(os.O_TRUNC); err != nil {
		// What is full stays in use under its name, else it would grow for ever.
		return errors.Join(err, os.Rename(o.path+".old", o.path))
	}
	_ = full.Close() // each write of it was looked at
	o.size = 0
	return nil
}

// copyFrom writes what pipe brings until its end, or until a deadline is set for it,
// and then what it still has. Who fills it waits for the disk: that is all
// that bounds how fast a program prints.
func (o *output) copyFrom(pipe *os.File) {
	b := make([]byte, 64<<10)
	for {
		n, err := pipe.Read(b)
		o.write(b[:n])
		if err != nil {
			break
		}
	}
	if err := pipe.SetReadDeadline(time.Time{}); err != nil {
		return
	}
	conn, err := pipe.SyscallConn()
	if err != nil {
		return
	}
	// Somebody may go on to fill it: no more is read than it holds at once.
	for left := pipeSize; left > 0; {
		n := 0
		err := conn.Read(func(fd uintptr) bool {
			n, _ = syscall.Read(int(fd), b)
			return true
		})
		if err != nil || n <= 0 { // it is empty
			return
		}
		o.write(b[:n])
		left -= n
	}
}

// pipeSize is what the kernel keeps in a pipe.
const pipeSize = 64 << 10

// cutLog does the same to the log of a program that writes to it by itself: it
// moves the end of it aside, and loses what is written meanwhile. The
// program appends, so it goes on at the new end.
func cutLog(path string, limit int64) error {
	b, err := readEnd(path, limit/2)
	if err == nil {
		err = statedir.WriteFile(path+".old", b)
	}
	return errors.Join(err, os.Truncate(path, 0))
}

// readEnd reads the last bytes of a file, at most n.
func readEnd(path string, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	n = min(n, info.Size())
	return io.ReadAll(io.NewSectionReader(f, info.Size()-n, n))
}

// logEnd is the end of the log at path.
func logEnd(path string, n int64) []byte {
	b, err := readEnd(path, n)
	if err == nil && len(b) == 0 { // it was moved aside just now
		b, _ = readEnd(path+".old", n)
	}
	return b
}
