//go:build unix && !linux

package mysqld

import "syscall"

// attributes leave ctrl-C in a terminal to us. Where the kernel does not end a
// server with us, the next supervisor does.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
