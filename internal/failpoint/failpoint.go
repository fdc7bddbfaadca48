// Package failpoint lets tests make a process kill itself at a named point, and
// a build of its own (tag broken) break a promise, so that tests of faults can
// show that they notice.
package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Variable names, in the environment of a process, the points at which it
// kills itself as kill -9 does: a list with commas, each name alone (the first
// time) or as name:N (the N-th time). Only tests set it. The points are
//
//	before-commit  a shard server has written a transaction and not committed it
//	after-commit   a shard server has committed batches, and knows no more than that
//	before-result  the responder is about to publish results
//	copy           a shard server has put a part of a copy into its store
//	copy-out       a shard server has sent a part of a copy
//	after-append   a writer's batch is in the log, the acknowledgement not there
//	purge          a leader is about to purge a log
//	purged         a leader has purged a log, and published nothing about it
const Variable = "RINGWAY_FAIL"

// failing is nil outside tests.
var failing = failPoints(os.Getenv(Variable))

// Hit ends the process here if the environment names this point.
func Hit(name string) {
	if failing == nil {
		return
	}
	if left := failing[name]; left != nil && left.Add(-1) == 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // nobody is left to report a failure to
		select {}
	}
}

func failPoints(list string) map[string]*atomic.Int64 {
	if list == "" {
		return nil
	}
	points := map[string]*atomic.Int64{}
	for one := range strings.SplitSeq(list, ",") {
		name, count, _ := strings.Cut(strings.TrimSpace(one), ":")
		n, err := strconv.ParseInt(count, 10, 64)
		if err != nil || n < 1 {
			n = 1
		}
		left := new(atomic.Int64)
		left.Store(n)
		points[name] = left
	}
	return points
}
