package shardclient

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// scripted is a server that treats each connection as it likes; n counts them.
func scripted(t *testing.T, talk func(n int, c net.Conn, br *bufio.Reader)) *pool {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	open.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer c.Close()
				stop := context.AfterFunc(t.Context(), func() { _ = c.Close() })
				defer stop()
				talk(n, c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); open.Wait() })
	cfg := DefaultConfig()
	p := newPool(l.Addr().String(), &cfg)
	t.Cleanup(p.Retire)
	return p
}

func readRequest(br *bufio.Reader) bool {
	req, err := http.ReadRequest(br)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, req.Body)
	return true
}

func request(t *testing.T, p *pool) (string, error) {
	t.Helper()
	r, err := p.ask(t.Context(), "GET", "/x", nil)
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := r.all(100)
	return string(b), err
}

func TestPool_KeepsConnections(t *testing.T) {
	for name, answer := range map[string]string{
		"length":  "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s",
		"chunks":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n",
		"trailer": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\nX: y\r\n\r\n",
	} {
		p := scripted(t, func(n int, c net.Conn, br *bufio.Reader) {
			for readRequest(br) {
				body := fmt.Sprint("connection ", n)
				fmt.Fprintf(c, answer, len(body), body)
			}
		})
		for range 3 {
			if got, err := request(t, p); got != "connection 0" {
				t.Errorf("%s: got %q %v", name, got, err)
			}
		}
	}
}

// A server that ends idle connections looks just so.
func TestPool_AsksAgainWhenAKeptConnectionHasEnded(t *testing.T) {
	p := scripted(t, func(n int, c net.Conn, br *bufio.Reader) {
		if readRequest(br) {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", n)
		}
		readRequest(br)
	})
	for want := range 3 {
		if got, err := request(t, p); got != fmt.Sprint(want) {
			t.Errorf("got %q %v, want %d", got, err, want)
		}
	}
}

func TestPool_KeepsNoConnectionThatIsNotClean(t *testing.T) {
	for name, answer := range map[string]string{
		"close": "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n%d",
		"more":  "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%dHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n9",
	} {
		p := scripted(t, func(n int, c net.Conn, br *bufio.Reader) {
			for readRequest(br) {
				fmt.Fprintf(c, answer, n)
			}
		})
		for want := range 2 {
			if got, err := request(t, p); got != fmt.Sprint(want) {
				t.Errorf("%s: got %q %v, want %d", name, got, err, want)
			}
		}
	}
}

func TestPool_RefusesWhatIsCutOff(t *testing.T) {
	for name, answer := range map[string]string{
		"nothing":  "",
		"header":   "HTTP/1.1 200 OK\r\nContent-",
		"length":   "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
		"chunks":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
		"trailer":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n",
		"no end":   "HTTP/1.1 200 OK\r\n\r\n12345",
		"too much": "HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + fmt.Sprintf("%101d", 5),
	} {
		p := scripted(t, func(_ int, c net.Conn, br *bufio.Reader) {
			if readRequest(br) {
				_, _ = io.WriteString(c, answer)
			}
		})
		if got, err := request(t, p); err == nil {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

func TestPool_WaitsNoLongerThanItShall(t *testing.T) {
	hang := make(chan struct{})
	var once sync.Once
	p := scripted(t, func(_ int, c net.Conn, br *bufio.Reader) {
		readRequest(br)
		once.Do(func() { close(hang) })
		readRequest(br) // it does not answer
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-hang; cancel() }()
	if _, err := p.ask(ctx, "GET", "/x", nil); err == nil {
		t.Error("an answer out of nothing")
	}
	p.cfg.Try = 10 * time.Millisecond
	if _, err := p.ask(t.Context(), "GET", "/x", nil); err == nil {
		t.Error("an answer out of nothing")
	}
	p.cfg.Try = time.Hour
	go func() {
		for waits := false; !waits; {
			p.mu.Lock()
			for l := range p.open {
				waits = waits || l.waiting
			}
			p.mu.Unlock()
		}
		p.Retire()
	}()
	if _, err := p.ask(t.Context(), "GET", "/x", nil); err == nil {
		t.Error("an answer out of nothing")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.open); n > 0 {
		t.Errorf("%d connections are left", n)
	}
}
