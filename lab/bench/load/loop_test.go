//go:build linux

package load

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// socketPath is short enough for a socket.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// serve has each connection of a new Unix socket served, and returns its base.
func serve(t *testing.T, one func(net.Conn)) string {
	t.Helper()
	socket := socketPath(t)
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go one(conn)
		}
	}()
	return "unix:" + socket
}

func writers(t *testing.T, base string, n int) *loop {
	t.Helper()
	l, err := HTTPClients(t.Context(), base, n, "/write", WriteBody, OneAdded)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func TestLoop_IsOnTheSocketOrThePort(t *testing.T) {
	socket := socketPath(t)
	var served [2]atomic.Int64
	bases := []string{"unix:" + socket, ""}
	for i, network := range []string{"unix", "tcp"} {
		address := socket
		if network == "tcp" {
			address = "127.0.0.1:0"
		}
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		if network == "tcp" {
			bases[i] = "http://" + l.Addr().String()
		}
		s := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) { served[i].Add(1); ctx.SetBodyString(OneAdded) }}
		go func() { _ = s.Serve(l) }()
		defer func() { _ = s.Shutdown() }() // its clients have gone
	}
	for i, base := range bases {
		l, err := writers(t, base, 3).Drive(t.Context(), upTo(30), time.Minute)
		if err != nil || l.Ops != 30 || len(l.Took) != 30 || served[i].Load() != 30 {
			t.Errorf("%s: %d ops, %d served, %v", base, l.Ops, served[i].Load(), err)
		}
	}
}

func TestLoop_WaitsForWhatIsOpenWhenTheTimeIsUp(t *testing.T) {
	base := serve(t, func(conn net.Conn) {
		defer conn.Close()
		in := bufio.NewReader(conn)
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			for _, piece := range strings.Split(answer("200 OK", "", OneAdded), "") {
				_, _ = io.WriteString(conn, piece)
			}
		}
	})
	asked := 0
	l, err := writers(t, base, 3).Drive(t.Context(), func() (int64, bool) { asked++; return int64(asked), true }, 20*time.Millisecond)
	if err != nil || l.Ops != asked || l.Ops < 3 || l.Spent < 20*time.Millisecond {
		t.Errorf("%d ops in %s, %d asked, %v", l.Ops, l.Spent, asked, err)
	}
}

func TestLoop_EndsWhenNobodyIsAnswered(t *testing.T) {
	silent := serve(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	endless := func() (int64, bool) { return 7, true }
	crew := writers(t, silent, 2)
	crew.patience = 20 * time.Millisecond
	if _, err := crew.Drive(t.Context(), endless, time.Hour); !errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), "2 requests") {
		t.Errorf("a server that is silent: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	_, err := writers(t, silent, 2).Drive(ctx, func() (int64, bool) {
		if asked++; asked == 2 {
			cancel()
		}
		return 7, true
	}, time.Hour)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("after its end: %v", err)
	}
}

func TestLoop_EndsAtAFailure(t *testing.T) {
	hangsUp := serve(t, func(conn net.Conn) {
		_, _ = http.ReadRequest(bufio.NewReader(conn))
		_ = conn.Close()
	})
	if _, err := writers(t, hangsUp, 3).Drive(t.Context(), func() (int64, bool) { return 7, true }, time.Hour); err == nil || !strings.Contains(err.Error(), "/write of key 7") {
		t.Errorf("got %v", err)
	}
	if _, err := HTTPClients(t.Context(), "unix:"+socketPath(t), 3, "/write", WriteBody, OneAdded); err == nil {
		t.Error("connected where nobody listens")
	}
}
