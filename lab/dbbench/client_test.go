package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// ask has a client write a row to a server that answers in these pieces, one
// after the other, and closes the connection then.
func ask(t *testing.T, pieces ...string) error {
	t.Helper()
	ours, theirs := net.Pipe() // a write is as many reads as it takes
	served := make(chan error, 1)
	go func() {
		defer theirs.Close()
		served <- func() error {
			r, err := http.ReadRequest(bufio.NewReader(theirs))
			if err != nil {
				return err
			}
			body, err := io.ReadAll(r.Body)
			if err != nil || r.Method != http.MethodPost || r.URL.Path != "/write" || r.Host == "" || string(body) != string(writeBody(nil, 7)) {
				return fmt.Errorf("%s %s of %q: %s: %w", r.Method, r.URL, r.Host, body, err)
			}
			for _, piece := range pieces {
				if _, err := io.WriteString(theirs, piece); err != nil {
					return nil // the client had enough
				}
			}
			return nil
		}()
	}()
	err := newClient(ours, "/write", writeBody, oneAdded).do(7)
	_ = ours.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
	return err
}

// answer is one with a body, which may have other headers.
func answer(status, headers, body string) string {
	return fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s", status, headers, len(body), body)
}

// sized is a right answer of so many bytes.
func sized(n int) string {
	body := oneAdded
	for len(answer("200 OK", "", body)) < n {
		body += " "
	}
	return answer("200 OK", "", body)
}

func TestClient_TakesAnswersInAnyPieces(t *testing.T) {
	whole := answer("200 OK", "Server: x\r\n", `{"message":"1 Data entries added"}`)
	for i := range len(whole) {
		if err := ask(t, whole[:i], whole[i:]); err != nil {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	if err := ask(t, strings.Split(whole, "")...); err != nil {
		t.Error(err)
	}
	if err := ask(t, sized(mostAnswer)); err != nil {
		t.Error(err)
	}
}

func TestClient_FailsUnlessTheAnswerIsRight(t *testing.T) {
	f := func(want string, pieces ...string) {
		t.Helper()
		err := ask(t, pieces...)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "/write of key 7") {
			t.Errorf("%.200q: got %v, want %s", pieces, err, want)
		}
	}
	right := answer("200 OK", "", oneAdded)
	lengthy := func(n string) string { return "HTTP/1.1 200 OK\r\nContent-Length: " + n + "\r\n\r\n" + oneAdded }
	f("503 Service Unavailable", answer("503 Service Unavailable", "", oneAdded))
	f("no such table", answer("404 Not Found", "", "no such table"))
	f("HTTP/1.1 2000", answer("2000 OK", "", oneAdded))
	f("0 Data entries added", answer("200 OK", "", `"0 Data entries added"`))
	f("HTTP/1.1 200 OK", answer("200 OK", "", ""))
	f("no Content-Length", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	f("no Content-Length", "HTTP/1.1 204 No Content\r\n\r\n")
	f("no Content-Length", "HTTP/1.1 200 OK\r\n\r\n\r\nContent-Length: 5\r\n\r\n") // only its body says so
	for _, n := range []string{"", "-1", "x", "1e1", "9223372036854775807", "18446744073709551616"} {
		f("parsing", lengthy(n))
	}
	f("4096 bytes", sized(mostAnswer+1))
	f("4096 bytes", "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 2*mostAnswer))
	f("1 bytes too many", right+"H")
	f(fmt.Sprint(len(right), " bytes too many"), right+right)
	f("EOF", "")
	f("EOF", right[:20])
	f("EOF", right[:len(right)-1])
}

// What is left in memory of the answer before is no part of the next one.
func TestClient_TellsAnswersApart(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	c := newClient(ours, "/write", writeBody, oneAdded)
	bodies := []string{oneAdded + strings.Repeat(" ", 300), oneAdded + strings.Repeat(" ", 100), oneAdded + strings.Repeat(" ", 200), "nothing"}
	go func() {
		defer theirs.Close()
		from := bufio.NewReader(theirs)
		for _, body := range bodies {
			r, err := http.ReadRequest(from)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			a := answer("200 OK", "", body)
			_, _ = io.WriteString(theirs, a[:20])
			_, _ = io.WriteString(theirs, a[20:])
		}
	}()
	for key, body := range bodies {
		if err := c.do(int64(key)); (err == nil) != strings.HasPrefix(body, oneAdded) {
			t.Fatalf("answer %d: %v", key, err)
		}
	}
	if err := c.do(9); err == nil {
		t.Error("a server that closed answered")
	}
}

func TestClient_HasPatienceForEachAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		defer ours.Close()
		c := newClient(ours, "/write", writeBody, oneAdded)
		go func() {
			from := bufio.NewReader(theirs)
			for i := 0; ; i++ {
				r, err := http.ReadRequest(from)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, r.Body)
				if i < 10 {
					time.Sleep(patience/2 - 1)
					_, _ = io.WriteString(theirs, answer("200 OK", "", oneAdded))
				}
			}
		}()
		for key := range int64(10) {
			if err := c.do(key); err != nil {
				t.Fatal(err)
			}
		}
		begun := time.Now()
		if err := c.do(10); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a server that is silent: %v", err)
		}
		if took := time.Since(begun); took < patience/2 || took > patience {
			t.Errorf("it took %s", took)
		}
	})
}

func TestHTTPWorkers_FailWhereNobodyListens(t *testing.T) {
	nobody := "unix:" + filepath.Join(t.TempDir(), "s")
	if _, _, err := httpWorkers(t.Context(), nobody, 3, "/write", writeBody, oneAdded); err == nil {
		t.Error("connected")
	}
}
