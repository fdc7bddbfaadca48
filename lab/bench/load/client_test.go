package load

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// receive has a client that asked for key 7 read these pieces of an answer, one
// after the other, and then the end of the connection.
func receive(c *client, pieces ...string) error {
	c.ask(7)
	for _, piece := range pieces {
		for rest := piece; rest != ""; {
			n := copy(c.free(), rest)
			if n == 0 {
				return errors.New("no space for the rest")
			}
			done, err := c.came(n)
			if done || err != nil {
				return err
			}
			rest = rest[n:]
		}
	}
	_, err := c.came(0)
	return err
}

func writer() *client { return newClient("/write", WriteBody, OneAdded) }

// answer is one with a body, which may have other headers.
func answer(status, headers, body string) string {
	return fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s", status, headers, len(body), body)
}

// sized is a right answer of so many bytes.
func sized(n int) string {
	body := OneAdded
	for len(answer("200 OK", "", body)) < n {
		body += " "
	}
	return answer("200 OK", "", body)
}

func TestClient_AsksInHTTP(t *testing.T) {
	c := writer()
	for _, key := range []int64{7, 1 << 40, 0} {
		all := bufio.NewReader(bytes.NewReader(c.ask(key)))
		r, err := http.ReadRequest(all)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/write" || r.Host == "" || string(body) != string(WriteBody(nil, key)) {
			t.Errorf("%s %s of %q: %s: %v", r.Method, r.URL, r.Host, body, err)
		}
		if n, _ := all.Discard(1); n > 0 {
			t.Error("more than one request")
		}
	}
}

func TestClient_GetsWithTheKeyInAHeader(t *testing.T) {
	c := newClient("/home", nil, "Hello")
	for _, key := range []int64{7, 123456} {
		all := bufio.NewReader(bytes.NewReader(c.ask(key)))
		r, err := http.ReadRequest(all)
		if err != nil || r.Method != http.MethodGet || r.URL.Path != "/home" || r.Header.Get(KeyHeader) != strconv.FormatInt(key, 10) || all.Buffered() > 0 {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if err := receive(c, strings.ToLower(answer("200 OK", "", "hello")), ""); err == nil {
		t.Error("a strange version was taken")
	}
	if err := receive(c, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nHello"); err != nil {
		t.Error(err)
	}
}

func TestClient_TakesAnswersInAnyPieces(t *testing.T) {
	whole := answer("200 OK", "Server: x\r\n", `{"message":"1 Data entries added"}`)
	for i := range len(whole) {
		if err := receive(writer(), whole[:i], whole[i:]); err != nil {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	if err := receive(writer(), strings.Split(whole, "")...); err != nil {
		t.Error(err)
	}
	if err := receive(writer(), sized(maxAnswer)); err != nil {
		t.Error(err)
	}
}

func TestClient_FailsUnlessTheAnswerIsRight(t *testing.T) {
	f := func(want string, pieces ...string) {
		t.Helper()
		err := receive(writer(), pieces...)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "/write of key 7") {
			t.Errorf("%.200q: got %v, want %s", pieces, err, want)
		}
	}
	right := answer("200 OK", "", OneAdded)
	lengthy := func(n string) string { return "HTTP/1.1 200 OK\r\nContent-Length: " + n + "\r\n\r\n" + OneAdded }
	f("503 Service Unavailable", answer("503 Service Unavailable", "", OneAdded))
	f("no such table", answer("404 Not Found", "", "no such table"))
	f("HTTP/1.1 2000", answer("2000 OK", "", OneAdded))
	f("0 Data entries added", answer("200 OK", "", `"0 Data entries added"`))
	f("HTTP/1.1 200 OK", answer("200 OK", "", ""))
	f("no Content-Length", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	f("no Content-Length", "HTTP/1.1 204 No Content\r\n\r\n")
	f("no Content-Length", "HTTP/1.1 200 OK\r\n\r\n\r\nContent-Length: 5\r\n\r\n") // only its body has it
	for _, n := range []string{"", "-1", "x", "1e1", "9223372036854775807", "18446744073709551616"} {
		f("parsing", lengthy(n))
	}
	f("more than 4096 bytes", sized(maxAnswer+1))
	f("more than 4096 bytes", "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 2*maxAnswer))
	f("1 bytes too many", right+"H")
	f(fmt.Sprint(len(right), " bytes too many"), right+right)
	f("the end of it", "")
	f("the end of it", right[:20])
	f("the end of it", right[:len(right)-1])
}

// What is left in memory of the answer before is no part of the next one.
func TestClient_TellsAnswersApart(t *testing.T) {
	c := writer()
	for i, body := range []string{OneAdded + strings.Repeat(" ", 300), OneAdded + strings.Repeat(" ", 100), OneAdded + strings.Repeat(" ", 200), "nothing"} {
		a := answer("200 OK", "", body)
		if err := receive(c, a[:20], a[20:]); (err == nil) != strings.HasPrefix(body, OneAdded) {
			t.Fatalf("answer %d: %v", i, err)
		}
	}
	if err := receive(c); err == nil {
		t.Error("a server that closed answered")
	}
}
