package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringway/cli/console"
	"ringway/internal/testkit"
)

// socketPath is short, as those of sockets have to be.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "unix-")
	testkit.Must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// getUnix is get over a socket.
func getUnix(t *testing.T, path string) string {
	t.Helper()
	body, err := tryUnix(path)
	testkit.Must(t, err)
	return body
}

func tryUnix(path string) (string, error) {
	dial := func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }
	c := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}
	resp, err := c.Get("http://ringway/home")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// says waits for the ready line, and returns what matches in it.
func (s *session) says(pattern string) []string {
	s.t.Helper()
	var m []string
	s.wait(func() error {
		if m = regexp.MustCompile(pattern).FindStringSubmatch(s.out.String()); m == nil {
			return errors.New("not ready")
		}
		return nil
	})
	return m
}

func TestUp_ServesOnAUnixSocketToo(t *testing.T) {
	path := socketPath(t)
	s := begin(t, t.TempDir(), nil, "--listen", "unix:"+path, "--listen", "127.0.0.1:0")
	// The address of the network comes first, where tools have always found it.
	reports := s.says(`^ready  http (http://\S+)  admin (http://\S+)  nats (nats://\S+)  http unix:(\S+)\n$`)
	if reports[4] != path {
		t.Errorf("it says %s, want %s", reports[4], path)
	}
	router := s.of("router")[0]
	if a, b := get(t, reports[1]), getUnix(t, path); a != fmt.Sprint(router) || b != a {
		t.Errorf("process %s and %s answered", a, b)
	}
	info, err := os.Lstat(path)
	testkit.Must(t, err)
	if got := info.Mode(); got != fs.ModeSocket|0o660 {
		t.Errorf("mode %s", got)
	}
	// A dead router neither refuses anybody nor takes the file along.
	testkit.Must(t, syscall.Kill(router, syscall.SIGKILL))
	s.wait(func() error {
		if running(router) {
			return errors.New("the router still runs")
		}
		return nil
	})
	for range 20 {
		if got := getUnix(t, path); got == fmt.Sprint(router) {
			t.Errorf("the dead process %s answered", got)
		}
	}
	s.signal(os.Interrupt)
	s.exit(console.ExitOK)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is left: %v", err)
	}
}

// Files alone say who may connect, so a port is not a must.
func TestUp_ServesOnAUnixSocketAlone(t *testing.T) {
	path := socketPath(t)
	table := filepath.Join(t.TempDir(), "table.yaml") // with one, up asks at the public address too
	testkit.Must(t, os.WriteFile(table, []byte("N: 1\nshards: [{id: sh1, low: 0, size: 9}, {id: sh2, low: 9, size: 9}]\n"), 0o600))
	s := begin(t, t.TempDir(), nil, "--listen", "unix:"+path, "--table", table)
	s.says(`^ready  http unix:` + regexp.QuoteMeta(path) + `  admin http://\S+  nats nats://\S+\n$`)
	if got := getUnix(t, path); got != fmt.Sprint(s.of("router")[0]) {
		t.Errorf("process %s answered", got)
	}
}

func TestUp_TakesTheSocketOfAKilledOneAndNotOfALiveOne(t *testing.T) {
	path := socketPath(t)
	first := begin(t, t.TempDir(), nil, "--listen", "unix:"+path)
	first.says("^ready")
	begin(t, t.TempDir(), nil, "--listen", "unix:"+path).exit(console.ExitFailed, "socket "+path+" is in use by another program", "--listen unix:PATH")
	if got := getUnix(t, path); got != fmt.Sprint(first.of("router")[0]) {
		t.Errorf("process %s answered", got)
	}
	first.signal(syscall.SIGKILL)
	first.nothingRuns()
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("this test wants a file that was left behind: %v", err)
	}
	second := begin(t, t.TempDir(), nil, "--listen", "unix:"+path)
	second.says("^ready")
	if got := getUnix(t, path); got != fmt.Sprint(second.of("router")[0]) {
		t.Errorf("process %s answered", got)
	}
}

func TestUp_RefusesWhereNoSocketCanBe(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	testkit.Must(t, os.WriteFile(file, []byte("precious"), 0o600))
	f := func(code int, path string, parts ...string) {
		t.Helper()
		args := []string{"up", "--data", filepath.Join(dir, "data"), "--admin", "127.0.0.1:0", "--nats", "127.0.0.1:0", "--listen", "127.0.0.1:0,unix:" + path}
		got, out, errs := run(t, Wiring{}, args...)
		if got != code || out != "" {
			t.Errorf("%s: code %d, stdout %q", path, got, out)
		}
		for _, p := range append(parts, path, "--listen unix:PATH") {
			if !strings.Contains(errs, p) {
				t.Errorf("%s: %q is not in %q", path, p, errs)
			}
		}
	}
	f(console.ExitUsage, "/"+strings.Repeat("x", 120), "121 bytes", "at most")
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		t.Error("the data directory was made")
	}
	f(console.ExitFailed, file, "a file, which is no socket")
	f(console.ExitFailed, filepath.Join(dir, "missing", "s"), "there is no directory "+filepath.Join(dir, "missing"))
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file has %q, %v", b, err)
	}
}

// A router by itself holds its socket itself.
func TestRouter_RemovesItsSocketHoweverItEnds(t *testing.T) {
	path := socketPath(t)
	failed := errors.New("no bus")
	var served string
	w := Wiring{Router: func(_ context.Context, o RouterOptions) error {
		if len(o.Public) != 2 || o.Public[0].Addr().Network() != "tcp" {
			t.Errorf("%d listeners, the first is of network %s", len(o.Public), o.Public[0].Addr().Network())
		}
		served = o.Public[1].Addr().String()
		return failed
	}}
	code, _, errs := run(t, w, "router", "--listen", "unix:"+path, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	if code != console.ExitFailed || !strings.Contains(errs, failed.Error()) || served != path {
		t.Errorf("code %d, %s; it listened at %q", code, errs, served)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is left: %v", err)
	}
	testkit.Must(t, os.WriteFile(path, nil, 0o600))
	code, _, errs = run(t, w, "router", "--listen", "unix:"+path, "--admin", "127.0.0.1:0")
	if code != console.ExitFailed || !strings.Contains(errs, "no socket") {
		t.Errorf("code %d, %s", code, errs)
	}
}
