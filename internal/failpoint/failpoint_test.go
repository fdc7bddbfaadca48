package failpoint_test

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"ringway/internal/failpoint"
)

func TestFailpoint(t *testing.T) {
	if os.Getenv("FAILPOINT_TEST") != "" {
		for range 3 {
			failpoint.Hit("other")
			failpoint.Hit("here")
		}
		os.Exit(0)
	}
	for list, killed := range map[string]bool{
		"": false, "here": true, "here:3": true, "here:4": false, "nowhere": false, "x, here:2": true, ",": false,
	} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=TestFailpoint$")
		cmd.Env = append(os.Environ(), "FAILPOINT_TEST=1", failpoint.Variable+"="+list)
		err := cmd.Run()
		var exit *exec.ExitError
		status := syscall.WaitStatus(0)
		if errors.As(err, &exit) {
			status = exit.Sys().(syscall.WaitStatus)
		}
		if got := status.Signaled() && status.Signal() == syscall.SIGKILL; got != killed || !killed && err != nil {
			t.Errorf("%q: %v", list, err)
		}
	}
}
