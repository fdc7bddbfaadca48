package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func open(t *testing.T, dir string) (*Data, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	return OpenData(ctx, dir, func() {})
}

// listing is every file of a directory with its content.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		content := []byte("directory")
		if err == nil && !e.IsDir() {
			content, err = os.ReadFile(path)
		}
		fmt.Fprintf(&b, "%s %q\n", path, content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestOpenData_MakesItAndKeepsIt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	for range 2 {
		d, err := open(t, dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, sub := range []string{"bus", "hosts", "router", "logs"} {
			if s, err := os.Stat(d.Path(sub)); err != nil || !s.IsDir() {
				t.Fatalf("%s: %v", sub, err)
			}
		}
		if b, _ := os.ReadFile(d.Path("VERSION")); string(b) != "1\n" {
			t.Fatalf("VERSION is %q", b)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenData_RefusesAndLeavesUntouched(t *testing.T) {
	write := func(name, content string) string {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	f := func(dir string, parts ...string) {
		t.Helper()
		before := listing(t, filepath.Dir(dir))
		_, err := open(t, dir)
		wantError(t, err, append(parts, dir, "--data")...)
		if after := listing(t, filepath.Dir(dir)); after != before {
			t.Errorf("it was\n%s\nand is\n%s", before, after)
		}
	}
	f(write("VERSION", "2\n"), `"2"`, `"1"`)
	f(write("VERSION", ""), `""`)
	f(write("VERSION", strings.Repeat("x", 1000)), "…")
	f(write("thesis.tex", "precious"), "not Ringway's")
	f(filepath.Join(write("file", "x"), "file"), "not a directory")
	_, err := open(t, "/proc/nowhere") // a place where nobody can write
	wantError(t, err, "/proc/nowhere", "--data")
}

func TestOpenData_InUseNamesTheHolder(t *testing.T) {
	dir := t.TempDir()
	d, err := open(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	before := listing(t, dir)
	_, err = open(t, dir)
	wantError(t, err, fmt.Sprint("process ", os.Getpid()))
	if !errors.Is(err, ErrInUse) {
		t.Errorf("%v is not ErrInUse", err)
	}
	if after := listing(t, dir); after != before {
		t.Errorf("it was\n%s\nand is\n%s", before, after)
	}
}

// Who removes a directory has its lock until it is gone, and who waited for the
// lock has that of nothing then.
func TestOpenData_SeesThatItWasRemovedMeanwhile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	d, err := open(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	// A holder that is not alive any more is waited for.
	if err := os.WriteFile(d.Path("LOCK"), fmt.Appendf(nil, "%d 1\n", os.Getpid()), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = OpenData(t.Context(), dir, func() {
		if err := errors.Join(os.RemoveAll(dir), d.Close()); err != nil {
			t.Error(err)
		}
	})
	wantError(t, err, "was removed a moment ago")
	if again, err := open(t, dir); err != nil {
		t.Error(err)
	} else {
		_ = again.Close()
	}
}

// What a supervisor that was killed left behind holds the lock a little longer.
func TestOpenData_WaitsForTheChildrenOfADeadHolder(t *testing.T) {
	dir := t.TempDir()
	d, err := open(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command("/proc/self/exe", "deaf")
	child.ExtraFiles = []*os.File{d.Lock()}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	// The same pid with another start time is another process.
	if err := os.WriteFile(d.Path("LOCK"), fmt.Appendf(nil, "%d 1\n", os.Getpid()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}

	if _, err = open(t, dir); !errors.Is(err, ErrInUse) {
		t.Fatalf("got %v while the child lives", err)
	}
	again, err := OpenData(t.Context(), dir, func() { _ = child.Process.Kill() })
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
}

func TestOpenData_GoesOnAfterAStartCutShort(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"LOCK", versionTemp} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := open(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	_ = d.Close()
}

func TestTrimLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := openLog(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	printf := func(s string) {
		if _, err := f.WriteString(s); err != nil {
			t.Fatal(err)
		}
	}
	want := func(path, content string) {
		t.Helper()
		if b, err := os.ReadFile(path); string(b) != content {
			t.Fatalf("%s is %q (%v), want %q", filepath.Base(path), b, err, content)
		}
	}
	printf("one\ntwo\n")
	if err := TrimLog(path, 8); err != nil {
		t.Fatal(err)
	}
	want(path, "one\ntwo\n")
	if err := TrimLog(path, 7); err != nil {
		t.Fatal(err)
	}
	printf("three\n") // a writer that knows of nothing
	want(path, "three\n")
	want(path+".1", "one\ntwo\n")
	printf("four\n\n")
	if got := LastLines(path, 1); len(got) != 1 || got[0] != "four" {
		t.Fatalf("last line %q", got)
	}
	if got := LastLines(path+".none", 1); got != nil {
		t.Fatalf("last line of nothing %q", got)
	}
	if err := RotateLog(path); err != nil {
		t.Fatal(err)
	}
	want(path+".1", "three\nfour\n\n")
	if err := RotateLog(path); err != nil {
		t.Fatalf("nothing to move: %v", err)
	}
}
