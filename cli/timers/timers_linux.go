package timers

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Slack is how late the kernel may let a thread's sleep end, once it is coarse.
const Slack = 500 * time.Microsecond

// usual is what a thread has that nobody told anything.
const usual = 50 * time.Microsecond

// Coarsen gives all threads of this process Slack. A thread has it from the one
// that made it, and the monitor is made before any of our code runs, so the
// process executes itself once: same pid, arguments, environment and inherited
// descriptors, and nothing else of what it has. Call it first of all.
//
// A process that was given another slack keeps it. Where the kernel refuses,
// all goes on as it is.
func Coarsen() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	switch slack() {
	case Slack:
		// The kernel names a process after the file it executes, which was called exe.
		_ = os.WriteFile("/proc/self/comm", []byte(filepath.Base(os.Args[0])), 0) // for people who look
	case usual:
		if unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(Slack), 0, 0, 0) != nil || slack() != Slack {
			return
		}
		_ = syscall.Exec("/proc/self/exe", os.Args, os.Environ()) // else only this thread is coarse
	}
}

// slack is the calling thread's.
func slack() time.Duration {
	n, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		return 0
	}
	return time.Duration(n)
}
