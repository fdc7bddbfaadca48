package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	"ringway/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// dialed is a connection of a pool, and its other end.
func dialed(t *testing.T) (*Conn, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	defer l.Close()
	p := NewPool(l.Addr().String(), Config{Connect: testkit.Patience, Keep: time.Hour, MaxHeader: 16 << 10})
	c, err := p.dial(t.Context(), time.Now().Add(testkit.Patience))
	testkit.Must(t, err)
	t.Cleanup(p.CloseAll)
	other, err := l.Accept()
	testkit.Must(t, err)
	t.Cleanup(func() { _ = other.Close() })
	testkit.Must(t, other.SetDeadline(time.Now().Add(testkit.Patience)))
	return c, other.(*net.TCPConn)
}

func posting(body string) *Request {
	h := &fasthttp.RequestHeader{}
	h.SetMethod(fasthttp.MethodPost)
	h.SetRequestURI("/home")
	h.SetHost("ringway")
	h.SetContentLength(len(body))
	return &Request{Head: h, Body: []byte(body), Deadline: time.Now().Add(testkit.Patience)}
}

// send is a whole exchange on c with an answer in memory.
func send(c *Conn, req *Request) (string, error) {
	var resp fasthttp.Response
	if err := c.roundTrip(context.Background(), req, &resp.Header); err != nil {
		return "", err
	}
	if err := c.ReadBody(&resp); err != nil {
		return "", err
	}
	return string(resp.Body()), nil
}

func TestConn_SendsAllOfARequest(t *testing.T) {
	for _, size := range []int{0, 1, 1000, maxSingleWrite - 500, maxSingleWrite, 2 * maxSingleWrite} {
		c, other := dialed(t)
		got := make(chan int, 1)
		go func() {
			br := bufio.NewReader(other)
			for range 2 {
				req, err := http.ReadRequest(br)
				if err != nil {
					got <- -1
					return
				}
				body, _ := io.ReadAll(req.Body)
				_, _ = io.WriteString(other, okAnswer)
				got <- strings.Count(string(body), "x")
			}
		}()
		for range 2 {
			answer, err := send(c, posting(strings.Repeat("x", size)))
			if err != nil || answer != "ok" {
				t.Errorf("got %q, %v", answer, err)
			}
			if n := <-got; n != size {
				t.Errorf("%d bytes of %d came", n, size)
			}
			c.kept = true
		}
	}
}

func TestConn_WaitsForRoom(t *testing.T) {
	for _, size := range []int{10, 2 * maxSingleWrite} {
		c, other := dialed(t)
		filled := 0
		testkit.Must(t, c.raw.Write(func(fd uintptr) bool {
			for err := error(nil); err == nil; {
				var n int
				n, err = syscall.Write(int(fd), make([]byte, 1<<10))
				filled += max(n, 0)
			}
			return true
		}))
		go func() {
			br := bufio.NewReader(other)
			_, _ = br.Discard(filled)
			if req, err := http.ReadRequest(br); err == nil {
				_, _ = io.Copy(io.Discard, req.Body)
			}
			_, _ = io.WriteString(other, okAnswer)
		}()
		if answer, err := send(c, posting(strings.Repeat("x", size))); err != nil || answer != "ok" {
			t.Errorf("%d bytes: got %q, %v", size, answer, err)
		}
	}
}

func TestConn_CarriesRequestsWithoutAllocating(t *testing.T) {
	c, other := dialed(t)
	c.kept = true
	go func() { // nor does this
		in, out := make([]byte, 4<<10), []byte(okAnswer)
		for {
			if _, err := other.Read(in); err != nil {
				return
			}
			if _, err := other.Write(out); err != nil {
				return
			}
		}
	}()
	req, resp := posting("x"), &fasthttp.Response{}
	if n := testkit.Allocs(1000, func() {
		testkit.Must(t, c.roundTrip(context.Background(), req, &resp.Header))
		testkit.Must(t, c.ReadBody(resp))
	}); n != 0 {
		t.Errorf("%v allocations for each request", n)
	}
}

// What a server sends at once may be there before the request is.
func TestConn_ReadsWhatCameBeforeTheFirstRequest(t *testing.T) {
	for name, early := range map[string]func(*net.TCPConn){
		"end": func(c *net.TCPConn) { _ = c.CloseWrite() }, "answer": func(c *net.TCPConn) { _, _ = io.WriteString(c, okAnswer) },
	} {
		c, other := dialed(t)
		early(other)
		arrived(t, c)
		if _, err := send(c, posting("x")); err != nil && !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// arrived waits until something can be read from c.
func arrived(t *testing.T, c *Conn) {
	t.Helper()
	testkit.Must(t, c.raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		return err == nil
	}))
}

func TestConn_SendsNothingOnAConnectionThatEnded(t *testing.T) {
	for name, leave := range map[string]func(*net.TCPConn){
		"end": func(c *net.TCPConn) { _ = c.CloseWrite() }, "unasked": func(c *net.TCPConn) { _, _ = io.WriteString(c, "HTTP/1.1 408 Request Timeout\r\n\r\n") },
	} {
		c, other := dialed(t)
		c.kept = true
		leave(other)
		arrived(t, c)
		if _, err := send(c, posting("x")); !errors.Is(err, errEnded) {
			t.Errorf("%s: got %v", name, err)
		}
		_ = c.nc.Close()
		if b, _ := io.ReadAll(other); len(b) > 0 {
			t.Errorf("%s: %q was sent", name, b)
		}
	}
}
