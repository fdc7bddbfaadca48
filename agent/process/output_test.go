package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringway/agent"
	"ringway/events"
	"ringway/internal/testkit"
)

// A program that prints 64 MiB as fast as it can has a log of one, at every moment, and
// costs nobody else anything.
func TestOutput_IsBoundedWhileAProgramPrints(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxLog = 1 << 20
	r := open(t, cfg, nil)
	ctx, cancel := context.WithCancel(t.Context())
	died, ended := make(chan agent.Instance, 1), make(chan error, 1)
	go func() { ended <- r.Run(ctx, func(in agent.Instance) { died <- in }) }()
	defer func() {
		cancel()
		testkit.Must(t, errors.Join(<-ended, r.Close()))
	}()
	done := filepath.Join(t.TempDir(), "done")
	loud := spec("S1", "/bin/sh", "-c", `yes "$LINE" | head -c 64M; echo the end; touch "$DONE"; exec sleep 600`)
	loud.Env = map[string]string{"DONE": done, "LINE": strings.Repeat("0123456789", 9)}
	if _, err := r.Start(t.Context(), loud, events.Token{}); err != nil {
		t.Fatal(err)
	}
	var most int64
	testkit.Eventually(t, func() error {
		both := size(r.logPath("S1")) + size(r.logPath("S1")+".old")
		if most = max(most, both); both > cfg.MaxLog+cfg.MaxLog/2 { // between the two looks it may be moved aside
			t.Fatalf("the log is %d bytes, of %d", both, cfg.MaxLog)
		}
		_, err := os.Stat(done)
		return err
	})
	if most < cfg.MaxLog/2 {
		t.Errorf("the log never had more than %d bytes", most)
	}
	testkit.Eventually(t, func() error {
		if end := logEnd(r.logPath("S1"), 8); string(end) != "the end\n" {
			return fmt.Errorf("the log ends with %q", end)
		}
		return nil
	})

	// Another's death is noticed while one prints.
	louder := spec("S2", "/bin/sh", "-c", `exec yes`)
	if _, err := r.Start(t.Context(), louder, events.Token{}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, func() error {
		if size(r.logPath("S2")+".old") == 0 {
			return errors.New("it does not print yet")
		}
		return nil
	})
	in, err := r.Start(t.Context(), spec("S3"), events.Token{})
	if err != nil {
		t.Fatal(err)
	}
	watch := testkit.StartWatch()
	testkit.Must(t, syscall.Kill(in.PID, syscall.SIGKILL))
	if dead := <-died; dead.Spec.Name != "S3" || watch.Elapsed() > 100*time.Millisecond {
		t.Errorf("%s died, after %s", dead.Spec.Name, watch.Elapsed())
	}
	for _, name := range []string{"S1", "S2"} {
		testkit.Must(t, r.Stop(t.Context(), name, 5*time.Second))
		<-died
	}
}

func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// What a program printed last is in its log when its death is reported, though a child
// of it goes on to print.
func TestOutput_IsWholeWhenTheProgramEnds(t *testing.T) {
	r := open(t, testConfig(t), nil)
	ctx, cancel := context.WithCancel(t.Context())
	died, ended := make(chan agent.Instance, 1), make(chan error, 1)
	go func() { ended <- r.Run(ctx, func(in agent.Instance) { died <- in }) }()
	defer func() {
		cancel()
		testkit.Must(t, errors.Join(<-ended, r.Close()))
	}()
	if _, err := r.Start(t.Context(), spec("S1", "/bin/sh", "-c", `seq 200000; echo no such database; exit 3`), events.Token{}); err != nil {
		t.Fatal(err)
	}
	if in := <-died; in.Detail != "exit status 3: no such database" {
		t.Errorf("it says %q", in.Detail)
	}
	if b, err := os.ReadFile(r.logPath("S1")); err != nil || !bytes.HasPrefix(b, []byte("1\n2\n3\n")) || bytes.Count(b, []byte("\n")) != 200001 {
		t.Errorf("the log has %d lines: %v", bytes.Count(b, []byte("\n")), err)
	}
	if _, err := r.Start(t.Context(), spec("S2", "/bin/sh", "-c", `yes & exit 4`), events.Token{}); err != nil {
		t.Fatal(err)
	}
	if in := <-died; !strings.HasPrefix(in.Detail, "exit status 4") {
		t.Errorf("it says %q", in.Detail)
	}
}

func TestOutput_TellsWhatIsLostOnAFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	o, err := openOutput(path, 1000)
	if err != nil {
		t.Fatal(err)
	}
	o.write([]byte("first\n"))
	file := o.file
	if o.file, err = os.OpenFile("/dev/full", os.O_WRONLY, 0); err != nil {
		t.Fatal(err)
	}
	o.write([]byte("second\n"))
	o.write([]byte("third\n"))
	testkit.Must(t, o.file.Close())
	o.file = file
	o.write([]byte("fourth\n"))
	testkit.Must(t, file.Close())
	b, err := os.ReadFile(path)
	want := "first\nringway: 13 bytes of output are lost here: write /dev/full: no space left on device\nfourth\n"
	if err != nil || string(b) != want {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestOutput_GoesOnWithWhatIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var want []byte
	for i := range 50 {
		o, err := openOutput(path, 100)
		if err != nil {
			t.Fatal(err)
		}
		line := fmt.Appendf(nil, "line %d\n", i)
		o.write(line)
		testkit.Must(t, o.file.Close())
		want = append(want, line...)
		old, _ := os.ReadFile(path + ".old") // none yet
		b, err := os.ReadFile(path)
		if both := append(old, b...); err != nil || len(both) > 100 || !bytes.HasSuffix(want, both) || len(both) < min(len(want), 51) {
			t.Fatalf("got %q after %q, %v", b, old, err)
		}
	}
}
