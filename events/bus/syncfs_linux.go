package bus

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncFS makes durable all that was written to the file system of f.
func syncFS(f *os.File) error { return unix.Syncfs(int(f.Fd())) }
