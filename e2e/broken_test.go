package e2e

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Variables of the processes that a test starts: the promise to break, and the binary
// that can.
const (
	brokenEnv       = "BROKEN_RINGWAY"
	brokenBinaryEnv = "BROKEN_RINGWAY_BINARY"
)

func isBroken() bool { return os.Getenv(brokenEnv) != "" }

// A checker that never fails is worth nothing: the same tests must fail with a
// build that breaks the promise that they look after, and for that reason; or,
// for "level", with reads that promise nothing.
func TestDB_TestsSeeBrokenPromises(t *testing.T) {
	if isBroken() {
		t.Skip("this is such a test")
	}
	t.Parallel()
	binary := buildRingway(t, "broken")
	f := func(promise, test, harm string, reasons ...string) {
		t.Run(promise, func(t *testing.T) {
			t.Parallel()
			var out []byte
			var err error
			for range 4 { // chance decides when harm is done, and what is read then
				cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+test+"$", "-test.timeout", "5m")
				cmd.Env = append(os.Environ(), brokenEnv+"="+promise, brokenBinaryEnv+"="+binary, harmEnv+"="+harm, "RINGWAY_LONG=")
				out, err = cmd.CombinedOutput()
				if err != nil && slices.ContainsFunc(reasons, func(r string) bool { return strings.Contains(string(out), r) }) {
					return
				}
			}
			t.Errorf("%s does not fail with one of %q, but: %v\n%s", test, reasons, err, out)
		})
	}
	f("ack", "TestDB_SetAndCountersSurviveKills/sqlite", "stop bus, kill router", "lost: ", "stale: ") // of the set, or of a counter
	f("skip", "TestDB_SetAndCountersSurviveKills/sqlite", "full disk", "lost: ")
	// Of a counter, the next update hides what was lost, but for its result.
	f("position", "TestDB_Failpoints/commit", "", "lost: ", "DIFFERENT at seq")
	f("position", "TestDB_Failpoints/commit-mysql", "", "lost: ", "DIFFERENT at seq")
	f("level", "TestDB_LinearizableOverTwoRouters", "", "notlinear: ")
	f("level", "TestDB_ReadsOfOneRouterNeverGoBack", "", "stale: ")
	f("sync", "TestDB_PowerCutLosesNothingAcknowledged/sqlite", "", "lost: ", "verify: exit", "up ended before it was ready")
}
