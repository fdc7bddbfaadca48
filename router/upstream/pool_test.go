package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/internal/testkit"
)

// serving is a pool of connections to a server that treats each as it likes;
// n counts them.
func serving(t *testing.T, talk func(n int, c net.Conn, br *bufio.Reader)) *Pool {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	var open sync.WaitGroup
	open.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer c.Close()
				defer context.AfterFunc(t.Context(), func() { _ = c.Close() })()
				talk(n, c, bufio.NewReader(c))
			})
		}
	})
	p := NewPool(l.Addr().String(), Config{Connect: testkit.Patience, Keep: time.Hour, MaxHeader: 16 << 10})
	t.Cleanup(func() { p.CloseAll(); _ = l.Close(); open.Wait() })
	return p
}

// answering reads requests and answers each with the next of answers.
func answering(answers ...string) func(int, net.Conn, *bufio.Reader) {
	return func(_ int, c net.Conn, br *bufio.Reader) {
		for _, a := range answers {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			_, _ = io.WriteString(c, a)
		}
	}
}

// stream is a whole exchange whose answer is read while it arrives.
func stream(ctx context.Context, p *Pool, req *Request) (string, error) {
	var h fasthttp.ResponseHeader
	c, err := p.Do(ctx, req, &h)
	if err != nil {
		return "", err
	}
	body := c.Stream()
	defer body.Close()
	b, err := io.ReadAll(body)
	return string(b), err
}

func TestBody_IsReadInEveryForm(t *testing.T) {
	f := func(name, answer, want string, keeps bool) {
		t.Helper()
		p := serving(t, answering(answer))
		got, err := stream(t.Context(), p, posting("x"))
		if err != nil || got != want {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
		if kept := len(p.idle) == 1; kept != keeps {
			t.Errorf("%s: the connection is kept: %v", name, kept)
		}
	}
	const chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
	f("length", okAnswer, "ok", true)
	f("length 0", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", true)
	f("chunks", chunks+"\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "hello", true)
	f("trailer", chunks+"Trailer: X\r\n\r\n2\r\nhe\r\n0\r\nX: 1\r\nY: 2\r\n\r\n", "he", true)
	f("until the end", "HTTP/1.1 200 OK\r\n\r\nhello", "hello", false)
	f("close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "ok", false)
	f("more than its length", okAnswer+"more", "ok", false)
	f("interim", "HTTP/1.1 103 Early Hints\r\n\r\n"+okAnswer, "ok", true)
}

func TestBody_ThatBreaksOffIsAFailure(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\nX: y\r\n",
	} {
		p := serving(t, answering(answer))
		_, err := stream(t.Context(), p, posting("x"))
		if f := (*Failure)(nil); !errors.As(err, &f) || f.Kind != Broken || len(p.open) > 0 {
			t.Errorf("%q: got %v, %d connections are open", answer, err, len(p.open))
		}
	}
}

// A pause may be longer than the time that the header was given, and no longer
// than Stall.
func TestBody_MayPause(t *testing.T) {
	proceed := make(chan struct{})
	p := serving(t, func(_ int, c net.Conn, br *bufio.Reader) {
		_, _ = http.ReadRequest(br)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha")
		<-proceed
		_, _ = io.WriteString(c, "lf")
	})
	req := posting("")
	req.Deadline, req.Stall = time.Now().Add(time.Second), testkit.Patience
	var h fasthttp.ResponseHeader
	c, err := p.Do(t.Context(), req, &h)
	testkit.Must(t, err)
	testkit.Must(t, c.nc.SetDeadline(time.Unix(1, 0))) // that of the header has passed
	body := c.Stream()
	close(proceed)
	if b, err := io.ReadAll(body); err != nil || string(b) != "half" {
		t.Errorf("got %q, %v", b, err)
	}
	testkit.Must(t, body.Close())
}

func TestDo_EndsWithItsContext(t *testing.T) {
	cause := errors.New("nobody needs it")
	for _, answer := range []string{"", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"} {
		arrived := make(chan struct{})
		p := serving(t, func(_ int, c net.Conn, br *bufio.Reader) {
			_, _ = http.ReadRequest(br)
			_, _ = io.WriteString(c, answer)
			close(arrived)
			_, _ = br.ReadByte()
		})
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() { <-arrived; cancel(cause) }()
		req := posting("")
		req.Stall = testkit.Patience
		if _, err := stream(ctx, p, req); !errors.Is(err, cause) || len(p.open) > 0 {
			t.Errorf("%q: got %v, %d connections are open", answer, err, len(p.open))
		}
	}
}

// spender counts what it allows.
type spender struct{ left, spent int }

func (s *spender) Spend() bool {
	if s.spent == s.left {
		return false
	}
	s.spent++
	return true
}

// The second request finds the connection of the first, and the server ends
// that when it comes.
func TestDo_RepeatsWhatAKeptConnectionDidNotAnswer(t *testing.T) {
	f := func(repeatable bool, budget, spent int, want string) {
		t.Helper()
		p := serving(t, func(n int, c net.Conn, br *bufio.Reader) {
			answering(okAnswer)(n, c, br)
			_, _ = http.ReadRequest(br)
		})
		_, err := stream(t.Context(), p, posting(""))
		testkit.Must(t, err)
		req, b := posting(""), &spender{left: budget}
		req.Repeatable, req.Budget = repeatable, b
		got, err := stream(t.Context(), p, req)
		if fmt.Sprint(got, err) != want || b.spent != spent {
			t.Errorf("repeatable %v, budget %d: got %q, %v and %d spent, want %s and %d", repeatable, budget, got, err, b.spent, want, spent)
		}
	}
	f(true, 5, 1, "ok<nil>")
	f(true, 0, 0, "EOF")
	f(false, 5, 0, "EOF")
}

// What has no answer yet is given up; an answer that has begun is left alone.
func TestPool_AbandonGivesUpWhatMayGoElsewhere(t *testing.T) {
	f := func(name, before, after string, repeatable bool, want string) {
		t.Helper()
		proceed := make(chan struct{})
		p := serving(t, func(n int, c net.Conn, br *bufio.Reader) {
			_, _ = http.ReadRequest(br)
			_, _ = io.WriteString(c, before)
			<-proceed
			_, _ = io.WriteString(c, after)
		})
		req := posting("")
		req.Repeatable = repeatable
		got := make(chan string, 1)
		go func() {
			body, err := stream(t.Context(), p, req)
			got <- fmt.Sprint(body, err)
		}()
		testkit.Eventually(t, func() error { return begun(p, repeatable, before != "") })
		p.Retire()
		p.Abandon()
		if want != ErrAbandoned.Error() {
			close(proceed)
		}
		if text := <-got; text != want {
			t.Errorf("%s: got %s, want %s", name, text, want)
		}
		if want == ErrAbandoned.Error() {
			close(proceed)
		}
		if _, err := stream(t.Context(), p, &Request{Head: req.Head, Deadline: req.Deadline, Repeatable: true}); !errors.Is(err, ErrAbandoned) {
			t.Errorf("%s: afterwards: %v", name, err)
		}
	}
	head, rest, _ := strings.Cut(okAnswer, "ngth")
	f("not answered", "", "", true, ErrAbandoned.Error())
	f("not repeatable", "", okAnswer, false, "ok<nil>")
	f("answer begun", head, "ngth"+rest, true, "ok<nil>")
}

// begun is nil when the one request of p waits for its answer, or reads it.
func begun(p *Pool, repeatable, reads bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		if waits := c.waits.Load() == waitsForAnswer; !repeatable || waits != reads {
			return nil
		}
	}
	return errors.New("not yet")
}
