package cli

import (
	"bufio"
	"os"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"ringway/cli/console"
	"ringway/events"
)

// How long somebody waited is never less than --timeout, however short that is.
func TestAsk_NoAnswerAfterMoreThanNothing(t *testing.T) {
	for _, err := range []error{events.ErrNoLeader, events.ErrUnknownOutcome} {
		c := &cluster{answer: func(string, any, any) error { return err }}
		_, _, errs := run(t, c.wiring(), "init", "--timeout", "1ms")
		answered := regexp.MustCompile(`(?:after|within) ([0-9.a-zµ]+)[:;]`).FindStringSubmatch(errs)
		if answered == nil {
			t.Fatalf("%v: no duration in %s", err, errs)
		}
		if waited, bad := time.ParseDuration(answered[1]); bad != nil || waited < time.Millisecond {
			t.Errorf("%v: %s", err, errs)
		}
	}
}

// A person who waits sees why, once it takes long.
func TestAsk_ShowsProgress(t *testing.T) {
	t.Parallel() // it mostly waits
	cmd := exec.Command("/proc/self/exe", "ps", "--nats", "127.0.0.1:1", "--timeout", "20s")
	cmd.Env = append(os.Environ(), "RINGWAY_CLI_TEST=leaderless")
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(errs).ReadString('\n')
	if err != nil || line != "waiting for a controller…\n" {
		t.Errorf("%q, %v", line, err)
	}
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != console.ExitInterrupted {
		t.Errorf("code %d", code)
	}
}
