package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// The bus's store is put back from an older copy, as by a backup or a snapshot
// of the machine: its revisions are lower than those that agents and routers
// have applied. They notice, and apply the new ones.
func TestUp_GoesOnWithABusThatWasRestoredFromABackup(t *testing.T) {
	t.Parallel()
	data, older := t.TempDir(), filepath.Join(t.TempDir(), "older")
	c := upIn(t, data, "--hosts", "2")
	c.stop()
	if err := os.CopyFS(older, os.DirFS(filepath.Join(data, "bus"))); err != nil {
		t.Fatal(err)
	}

	c = upIn(t, data, "--hosts", "2")
	c.moves("Before", 4)
	c.kill(c.cmd.Process.Pid, syscall.SIGKILL)
	<-c.ended
	c.nothingLeft()
	if err := os.RemoveAll(filepath.Join(data, "bus")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(data, "bus"), os.DirFS(older)); err != nil {
		t.Fatal(err)
	}

	begun := time.Now()
	c = upIn(t, data, "--hosts", "2")
	if took := time.Since(begun); took > time.Minute {
		t.Errorf("ready after %s", took)
	} else {
		t.Logf("ready after %s", took.Round(time.Millisecond))
	}
	eventually(t, 20*time.Second, func() error {
		if code, body, err := call(http.MethodGet, c.http+"/home", ""); err != nil || code != http.StatusOK {
			return fmt.Errorf("GET /home: %d %s %w", code, body, err)
		}
		return nil
	})
	before, err := c.rep()
	if err != nil {
		t.Fatal(err)
	}
	c.moves("After", 1)
	if code, body, err := call(http.MethodPost, c.http+"/add", `{"n":1}`); err != nil || code != http.StatusOK {
		t.Fatalf("/add: %d %s %v", code, body, err)
	}
	if after, err := c.rep(); err != nil || len(after) != len(before)+1 {
		t.Errorf("/rep went from %v to %v, %v", before, after, err)
	}
	c.awaitEvent("bus rewound")
}
