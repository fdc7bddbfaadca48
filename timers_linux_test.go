package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"testing"

	"ringway/cli/timers"
)

// What serves requests is woken less by Go's monitor; what agents start for
// others is left as it is.
func TestUp_BusyRolesHaveCoarseTimers(t *testing.T) {
	c := up(t, "--replicas", "1")
	usual := slackOf(t, os.Getpid())
	for role, want := range map[string]int64{"bus": int64(timers.Slack), "router": int64(timers.Slack), "controller": usual, "agent": usual, "server": usual} {
		if got := slackOf(t, c.role(role)); got != want {
			t.Errorf("%s: a slack of %d ns, want %d", role, got, want)
		}
	}
}

func slackOf(t *testing.T, pid int) int64 {
	t.Helper()
	said, err := os.ReadFile(fmt.Sprintf("/proc/%d/timerslack_ns", pid))
	if errors.Is(err, fs.ErrPermission) && os.Getenv("CI") == "" {
		t.Skip("the kernel tells only who may set it (CAP_SYS_NICE)")
	}
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(said)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
