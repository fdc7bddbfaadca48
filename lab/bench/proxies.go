package main

import (
	"context"
	"embed"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"text/template"
	"time"

	"ringway/lab/bench/load"
)

// proxyKind is a router that is not Ringway, and how it is started in the
// foreground with a file. Each is set up for this load (haproxy.conf, nginx.conf):
// as many threads as processors, kept connections on both sides, consistent
// hashing of the key, no log of requests.
type proxyKind struct {
	name string
	args func(file string) []string
}

var (
	haproxy = proxyKind{"haproxy", func(file string) []string { return []string{"-db", "-f", file} }}
	nginx   = proxyKind{"nginx", func(file string) []string { return []string{"-p", filepath.Dir(file), "-e", "stderr", "-c", file} }}
)

//go:embed haproxy.conf nginx.conf
var configs embed.FS

// configure writes the configuration of a proxy at an address to a file.
func (kind proxyKind) configure(file, address string, members []string) error {
	t, err := template.ParseFS(configs, kind.name+".conf")
	if err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // what did not get there the proxy misses
	return t.Execute(f, map[string]any{
		"CPUs": runtime.NumCPU(), "Address": address, "Dir": filepath.Dir(file), "Members": members,
		"Header": load.KeyHeader, "Variable": strings.ToLower(strings.ReplaceAll(load.KeyHeader, "-", "_")),
	})
}

// proxy is one that runs.
type proxy struct {
	*process
	http    string // base URL
	version string // as it prints it
}

func startProxy(ctx context.Context, o options, kind proxyKind, members []string) (*proxy, error) {
	binary, err := exec.LookPath(kind.name)
	if err != nil {
		binary, err = exec.LookPath("/usr/sbin/" + kind.name) // where Debian has it
	}
	if err != nil {
		return nil, fmt.Errorf("no %s here (on Debian: apt-get install --no-install-recommends haproxy nginx-light)", kind.name)
	}
	version, err := exec.CommandContext(ctx, binary, "-v").CombinedOutput()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(o.dir, kind.name)
	if err := os.Mkdir(dir, 0o755); err != nil { // nginx's workers are another user's
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "config")
	if err := kind.configure(file, address, members); err != nil {
		return nil, err
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(version)), "\n")
	p := &proxy{http: "http://" + address, version: first}
	if p.process, err = startProcess(exec.Command(binary, kind.args(file)...)); err != nil {
		return nil, err
	}
	return p, p.await(ctx, 10*time.Second, func(string) bool { // when it answers as a replica does
		return call(ctx, http.MethodGet, p.http+"/home", "", nil) == nil
	})
}

// freeAddress is one that nobody listened on a moment ago.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
