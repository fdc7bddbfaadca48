package bus_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// cut is a TCP relay before a bus, whose cable can be pulled.
type cut struct {
	to     string
	listen net.Listener
	wait   sync.WaitGroup

	mu    sync.Mutex
	apart bool
	conns map[net.Conn]bool
}

func newCut(t *testing.T, url string) *cut {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cut{to: strings.TrimPrefix(url, "nats://"), listen: l, conns: map[net.Conn]bool{}}
	c.wait.Go(c.accept)
	t.Cleanup(func() { _ = l.Close(); c.Cut(); c.wait.Wait() })
	return c
}

func (c *cut) URL() string { return "nats://" + c.listen.Addr().String() }

// Cut breaks all connections and refuses new ones.
func (c *cut) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.apart = true
	for conn := range c.conns {
		_ = conn.Close()
	}
}

func (c *cut) Heal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.apart = false
}

func (c *cut) accept() {
	for {
		in, err := c.listen.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", c.to)
		if err != nil || !c.keep(in, out) {
			_ = in.Close()
			if err == nil {
				_ = out.Close()
			}
			continue
		}
		c.wait.Go(func() { c.relay(in, out) })
		c.wait.Go(func() { c.relay(out, in) })
	}
}

func (c *cut) keep(conns ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range conns {
		c.conns[conn] = true
	}
	return !c.apart
}

func (c *cut) relay(from, to net.Conn) {
	_, _ = io.Copy(to, from) // ends when either side does
	_ = from.Close()
	_ = to.Close()
}
