package sample

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp's own: the Date header of all servers, for good, and the
		// cleaner of a server's workers, which notices the end after 10 s.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

func serve(t *testing.T, id string) (address string, stop func() error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, id, listener) }()
	return listener.Addr().String(), func() error { cancel(); return <-done }
}

func TestServe_Answers(t *testing.T) {
	address, stop := serve(t, `S"1`)
	f := func(method, path string, code int, body string) {
		t.Helper()
		req, err := http.NewRequest(method, "http://"+address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Close = true
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		got, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != code || body != "*" && string(got) != body {
			t.Errorf("%s %s: got %d %q, want %d %q", method, path, res.StatusCode, got, code, body)
		}
	}
	f("GET", "/home", 200, `{"message":"Hello from Server: S\"1","status":"successful"}`)
	f("GET", "/home?x=1", 200, "*")
	f("GET", "/heartbeat", 200, "")
	f("GET", "/", 404, "*")
	f("GET", "/home/", 404, "*")
	f("POST", "/home", 404, "*")
	f("DELETE", "/heartbeat", 404, "*")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestServe_DoesNotWaitForIdleConnections(t *testing.T) {
	address, stop := serve(t, "S1")
	idle, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	reader := bufio.NewReader(idle)
	ask := func() (*http.Response, error) {
		if _, err := fmt.Fprint(idle, "GET /home HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return nil, err
		}
		res, err := http.ReadResponse(reader, nil)
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
		}
		return res, err
	}
	if res, err := ask(); err != nil || res.StatusCode != 200 {
		t.Fatalf("got %v, %v", res, err)
	}
	begun := time.Now()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("an idle connection held the server for %s", took)
	}
	if res, err := ask(); err == nil {
		t.Fatalf("answered after the end: %v", res.Status)
	}
	if _, err := net.Dial("tcp", address); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Fatalf("dial after the end: %v", err)
	}
}

func TestRun_ReportsThatThePortIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := Run(t.Context(), "S1", taken.Addr().String()); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Fatalf("got %v", err)
	}
}
