package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"ringway/lab/bench/load"
)

// proxyKind is a router that is not Ringway: how it is asked for its version,
// and started in the foreground with a file. Each is set up for this load: as
// many threads as processors, kept connections on both sides, consistent
// hashing of the key, no log of requests.
type proxyKind struct {
	name    string
	version []string
	args    func(file string) []string
	config  func(address, dir string, members []string) string
}

var haproxy = proxyKind{
	name: "haproxy", version: []string{"-v"},
	args: func(file string) []string { return []string{"-db", "-f", file} },
	config: func(address, _ string, members []string) string {
		var b strings.Builder
		fmt.Fprintf(&b, `global
  nbthread %d
  maxconn 4000
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  timeout http-keep-alive 60s
  http-reuse always
  option redispatch
frontend in
  bind %s
  default_backend web
backend web
  balance hdr(%s)
  hash-type consistent
`, runtime.NumCPU(), address, load.KeyHeader)
		for i, m := range members {
			fmt.Fprintf(&b, "  server s%d %s check inter 500ms\n", i+1, m)
		}
		return b.String()
	},
}

var nginx = proxyKind{
	name: "nginx", version: []string{"-v"},
	args: func(file string) []string { return []string{"-p", filepath.Dir(file), "-e", "stderr", "-c", file} },
	config: func(address, dir string, members []string) string {
		var servers strings.Builder
		for _, m := range members {
			fmt.Fprintf(&servers, "server %s;\n", m)
		}
		return fmt.Sprintf(`daemon off;
worker_processes %d;
pid %s/nginx.pid;
events { worker_connections 4000; }
http {
  access_log off;
  client_body_temp_path %[2]s; proxy_temp_path %[2]s; fastcgi_temp_path %[2]s; uwsgi_temp_path %[2]s; scgi_temp_path %[2]s;
  keepalive_requests 1000000000;
  upstream web {
    hash $http_%[3]s consistent;
    %[4]s
    keepalive 256;
    keepalive_requests 1000000000;
  }
  server {
    listen %[5]s;
    location / {
      proxy_pass http://web;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }
  }
}
`, runtime.NumCPU(), dir, strings.ToLower(strings.ReplaceAll(load.KeyHeader, "-", "_")), servers.String(), address)
	},
}

// proxy is one that runs.
type proxy struct {
	cmd     *exec.Cmd
	http    string // base URL
	version string // as it prints it
	stderr  *bytes.Buffer
	ended   chan struct{} // closed when it has ended
}

func startProxy(ctx context.Context, o options, kind proxyKind, members []string) (*proxy, error) {
	binary, err := exec.LookPath(kind.name)
	if err != nil {
		binary, err = exec.LookPath("/usr/sbin/" + kind.name) // where Debian has it
	}
	if err != nil {
		return nil, fmt.Errorf("no %s here (on Debian: apt-get install --no-install-recommends haproxy nginx-light)", kind.name)
	}
	version, err := exec.CommandContext(ctx, binary, kind.version...).CombinedOutput()
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
	if err := os.WriteFile(file, []byte(kind.config(address, dir, members)), 0o644); err != nil {
		return nil, err
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(version)), "\n")
	p := &proxy{cmd: exec.Command(binary, kind.args(file)...), http: "http://" + address, version: first, stderr: &bytes.Buffer{}, ended: make(chan struct{})}
	p.cmd.Stderr = p.stderr
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // who asks sees it in ended
		close(p.ended)
	}()
	if err := p.ready(ctx); err != nil {
		p.stop()
		return nil, fmt.Errorf("%s: %w: %s", kind.name, err, p.stderr)
	}
	return p, nil
}

// freeAddress is one that nobody listened on a moment ago.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// ready returns when it answers as a replica does.
func (p *proxy) ready(ctx context.Context) error {
	ctx, done := context.WithTimeout(ctx, 10*time.Second)
	defer done()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.http+"/home", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close() // the code is the answer
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("it answers %s", resp.Status)
		}
		select {
		case <-p.ended:
			return fmt.Errorf("it ended")
		case <-ctx.Done():
			return err
		case <-look.C:
		}
	}
}

func (p *proxy) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt) // fails if it has ended
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}
