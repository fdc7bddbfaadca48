package mysqld

import "syscall"

// attributes let a server end with us, and leave ctrl-C in a terminal to us.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
