package router

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/internal/testkit"
)

// dialed is a connection to a member, and its other end.
func dialed(t *testing.T) (*conn, *net.TCPConn) {
	t.Helper()
	l := listen(t)
	defer l.Close()
	nc, err := net.Dial("tcp", l.Addr().String())
	testkit.Must(t, err)
	t.Cleanup(func() { _ = nc.Close() })
	other, err := l.Accept()
	testkit.Must(t, err)
	t.Cleanup(func() { _ = other.Close() })
	testkit.Must(t, nc.SetDeadline(time.Now().Add(testkit.Patience)))
	testkit.Must(t, other.SetDeadline(time.Now().Add(testkit.Patience)))
	cfg := DefaultConfig()
	c, err := newConn(nc, newPool(nil, &cfg))
	testkit.Must(t, err)
	return c, other.(*net.TCPConn)
}

func posting(body string) *fasthttp.Request {
	req := &fasthttp.Request{}
	req.Header.SetMethod(fasthttp.MethodPost)
	req.SetRequestURI("/home")
	req.Header.SetHost("ringway")
	req.SetBodyString(body)
	req.Header.SetContentLength(len(body))
	return req
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
			testkit.Must(t, c.ask(posting(strings.Repeat("x", size))))
			if n := <-got; n != size {
				t.Errorf("%d bytes of %d came", n, size)
			}
			answer := make([]byte, len(okAnswer))
			if _, err := io.ReadFull(c.br, answer); err != nil || string(answer) != okAnswer {
				t.Errorf("got %q, %v", answer, err)
			}
			c.kept = true
		}
	}
}

func TestConn_WaitsForRoom(t *testing.T) {
	for _, size := range []int{10, 2 * maxSingleWrite} {
		c, other := dialed(t)
		filled, turns, take := 0, 0, c.turn
		c.turn = func(fd uintptr) bool {
			turns++
			for err := error(nil); err == nil; {
				var n int
				n, err = syscall.Write(int(fd), make([]byte, 1<<10))
				filled += max(n, 0)
			}
			done := take(fd)
			go func() {
				br := bufio.NewReader(other)
				_, _ = br.Discard(filled)
				readRequest(br)
				_, _ = io.WriteString(other, okAnswer)
			}()
			return done
		}
		if err := c.ask(posting(strings.Repeat("x", size))); err != nil || turns != 1 {
			t.Errorf("%d bytes: %v after %d turns", size, err, turns)
		}
	}
}

func TestConn_LooksForAnAnswerWhenThereIsOne(t *testing.T) {
	c, other := dialed(t)
	c.kept = true
	turns, take := 0, c.turn
	c.turn = func(fd uintptr) bool { turns++; return take(fd) }
	go func() {
		readRequest(bufio.NewReader(other))
		_, _ = io.WriteString(other, okAnswer)
	}()
	testkit.Must(t, c.ask(posting("x")))
	if turns != 2 {
		t.Errorf("%d turns, want one to send and one to read", turns)
	}
}

func TestConn_AsksWithoutAllocating(t *testing.T) {
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
	req := posting("x")
	if n := testing.AllocsPerRun(1000, func() {
		testkit.Must(t, c.ask(req))
		_, _ = c.br.Discard(c.br.Buffered()) // it came in one piece
	}); n != 0 {
		t.Errorf("%v allocations for each request", n)
	}
}

// What a member says at once may have been told before the turn began.
func TestConn_HearsWhatCameBeforeTheFirstRequest(t *testing.T) {
	for name, early := range map[string]func(*net.TCPConn){
		"end": func(c *net.TCPConn) { _ = c.CloseWrite() }, "answer": func(c *net.TCPConn) { _, _ = io.WriteString(c, okAnswer) },
	} {
		c, other := dialed(t)
		told := 0
		testkit.Must(t, c.raw.Read(func(uintptr) bool { // it is told here, and once only
			if told++; told == 1 {
				early(other)
			}
			return told > 1
		}))
		if err := c.ask(posting("x")); err != nil && !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConn_SendsNothingToWhomHasGone(t *testing.T) {
	for name, leave := range map[string]func(*net.TCPConn){
		"end": func(c *net.TCPConn) { _ = c.CloseWrite() }, "unasked": func(c *net.TCPConn) { _, _ = io.WriteString(c, "HTTP/1.1 408 Request Timeout\r\n\r\n") },
	} {
		c, other := dialed(t)
		c.kept = true
		leave(other)
		testkit.Must(t, c.raw.Read(func(fd uintptr) bool { // it has arrived
			_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
			return err == nil
		}))
		if err := c.ask(posting("x")); !errors.Is(err, errDead) {
			t.Errorf("%s: got %v", name, err)
		}
		_ = c.nc.Close()
		if b, _ := io.ReadAll(other); len(b) > 0 {
			t.Errorf("%s: %q was sent", name, b)
		}
	}
}
