package e2e

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An engine that is started again has ended every container. The roles come
// back by its own doing, the replicas by the controller's.
func TestE2E_EngineIsRestarted(t *testing.T) {
	pidFile := os.Getenv("RINGWAY_ENGINE_PID") // of an engine that is started again
	if pidFile == "" {
		t.Skip("the engine is somebody's: it is restarted only if this test has one of its own (e2e/setup/with-engine.sh, where none answers)")
	}
	c := newContainers(t)
	c.up()
	if code, body, err := call(http.MethodPost, c.http+"/add", `{"n":1,"hostnames":["S9"]}`); err != nil || code != http.StatusOK {
		t.Fatalf("/add: %d %s %v", code, body, err)
	}
	before := c.running()
	pid, err := readPID(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, 2*time.Minute, func() error { // it stops its containers first
		if now, err := readPID(pidFile); err != nil || now == pid {
			return fmt.Errorf("the engine is process %d still (%v)", now, err)
		}
		_, err := docker(t.Context(), "version", "--format", "{{.Server.Version}}")
		return err
	})
	restored := eventually(t, 2*time.Minute, func() error {
		names, err := c.rep()
		if err != nil || len(names) != 4 {
			return fmt.Errorf("%v serve (%v)", names, err)
		}
		running := c.running()
		for _, n := range names {
			if !slices.Contains(running, n) {
				return fmt.Errorf("%s is named and does not run", n)
			}
		}
		if code, body, err := call(http.MethodGet, c.http+"/home", ""); err != nil || code != http.StatusOK {
			return fmt.Errorf("/home: %d %s %w", code, body, err)
		}
		return nil
	})
	after, _ := c.rep() // asked a moment ago
	t.Logf("restored %s after the engine answered again; before %v, after %v", ms(restored), before, after)
	onlyWanted(c)
}

func readPID(file string) (int, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}
