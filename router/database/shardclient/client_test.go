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
func scripted(t *testing.T, talk func(n int, c net.Conn, br *bufio.Reader)) *Client {
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
	cfg.Keep = time.Hour
	c := New(&cfg, l.Addr().String(), nil)
	t.Cleanup(c.Retire)
	return c
}

func readRequest(br *bufio.Reader) bool {
	req, err := http.ReadRequest(br)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, req.Body)
	return true
}

func request(t *testing.T, c *Client) (string, error) {
	t.Helper()
	r, err := c.ask(t.Context(), "GET", "/x", nil)
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := r.all(100)
	return string(b), err
}

func TestClient_KeepsConnections(t *testing.T) {
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
func TestClient_AsksAgainWhenAKeptConnectionHasEnded(t *testing.T) {
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

func TestClient_KeepsNoConnectionThatIsNotClean(t *testing.T) {
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

func TestClient_RefusesWhatIsCutOff(t *testing.T) {
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

func TestClient_WaitsNoLongerThanItShall(t *testing.T) {
	f := func(try time.Duration, end func(*Client, context.CancelFunc)) {
		t.Helper()
		waits, ended := make(chan struct{}), make(chan struct{})
		c := scripted(t, func(_ int, nc net.Conn, br *bufio.Reader) {
			readRequest(br)
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			readRequest(br)
			close(waits)
			readRequest(br) // it does not answer
			close(ended)
		})
		if _, err := request(t, c); err != nil { // so that there is a connection
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		c.cfg.Try = try
		go func() { <-waits; end(c, cancel) }()
		if _, err := c.ask(ctx, "GET", "/x", nil); err == nil {
			t.Error("an answer out of nothing")
		}
		<-ended // no connection is left
	}
	f(time.Hour, func(_ *Client, cancel context.CancelFunc) { cancel() })
	f(10*time.Millisecond, func(*Client, context.CancelFunc) {})
	f(time.Hour, func(c *Client, _ context.CancelFunc) { c.Retire() })
}
