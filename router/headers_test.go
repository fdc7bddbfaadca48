package router

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ringway/internal/testkit"
)

// echo answers with the request as the member saw it.
func echo() http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Server", "replica/1")
		w.Header().Set("Connection", "X-Secret")
		w.Header().Set("X-Secret", "hop")
		w.Header().Set("Keep-Alive", "timeout=5")
		w.Header().Add("Set-Cookie", "a=1; Path=/")
		w.Header().Add("Set-Cookie", "b=2; Path=/")
		_ = json.NewEncoder(w).Encode(seen{r.Method, r.RequestURI, r.Host, r.Proto, r.Header, string(body), r.TransferEncoding, r.Trailer})
	}
}

type seen struct {
	Method, URI, Host, Proto string
	Header                   http.Header
	Body                     string
	Encoding                 []string
	Trailer                  http.Header
}

func (w *world) seen(raw string) seen {
	w.t.Helper()
	answer := w.raw(raw)
	_, body, ok := strings.Cut(answer, "\r\n\r\n")
	var s seen
	if !ok || json.Unmarshal([]byte(body), &s) != nil {
		w.t.Fatalf("%q: got %q", raw, answer)
	}
	return s
}

func TestForward_PassesOnlyWhatIsEndToEnd(t *testing.T) {
	w := start(t, nil)
	w.put(route(routeMember(1, replica(t, echo()))))
	s := w.seen("GET /a%2Fb//c/../d?x=1&y=%20 HTTP/1.1\r\nHost: example.org:8080\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n" +
		"Te: trailers\r\nProxy-Authorization: Basic x\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nHttp2-Settings: x\r\n" +
		"Cookie: a=1; b=\"2\"\r\nX-Twice: 1\r\nX-Twice: 2\r\nAuthorization: Bearer x\r\n\r\n")
	if s.URI != "/a%2Fb//c/../d?x=1&y=%20" {
		t.Errorf("target %s", s.URI)
	}
	if s.Host != "example.org:8080" || s.Proto != "HTTP/1.1" {
		t.Errorf("host %s, %s", s.Host, s.Proto)
	}
	for _, name := range []string{"Connection", "X-Hop", "Keep-Alive", "Te", "Proxy-Authorization", "Proxy-Connection", "Upgrade", "Http2-Settings", "User-Agent", "Content-Type", "Content-Length"} {
		if v, ok := s.Header[name]; ok {
			t.Errorf("%s: %v was passed on", name, v)
		}
	}
	want := map[string]string{
		"Cookie": `a=1; b="2"`, "Authorization": "Bearer x", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "example.org:8080",
	}
	for name, v := range want {
		if got := s.Header[name]; len(got) != 1 || got[0] != v {
			t.Errorf("%s: got %q, want %q", name, got, v)
		}
	}
	if got := s.Header["X-Twice"]; len(got) != 2 {
		t.Errorf("X-Twice: %q", got)
	}
	resp := w.do("GET", "/", "")
	if got := resp.header["Set-Cookie"]; len(got) != 2 || resp.header.Get("Server") != "replica/1" || len(resp.header["Date"]) != 1 {
		t.Errorf("answer header %v", resp.header)
	}
	for _, name := range []string{"X-Secret", "Keep-Alive", "Connection"} {
		if _, ok := resp.header[name]; ok {
			t.Errorf("%s of the answer was passed on", name)
		}
	}
}

// A field may come twice, and the first one be empty.
func TestForward_DropsFieldsWhateverTheyContain(t *testing.T) {
	w := start(t, nil)
	var back http.Header
	answers := http.Header{"Keep-Alive": {"", "timeout=5"}, "Proxy-Authenticate": {"", "Basic"}, "Upgrade": {"", "h2c"}, "Connection": {"", "X-Back"}, "X-Back": {"1"}}
	w.put(route(routeMember(1, replica(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		back = r.Header.Clone()
		maps.Copy(rw.Header(), answers)
	})))))
	answer := w.raw("GET /home HTTP/1.1\r\nHost: x\r\nte:\r\nTE: trailers\r\nProxy-Authorization:\r\nProxy-authorization: secret\r\nUpgrade:\r\nUpgrade: h2c\r\n" +
		"Connection:\r\nConnection: X-Hop, Upgrade, close\r\nX-Hop: 1\r\nX-Stays: 1\r\n\r\n")
	for _, name := range []string{"Te", "Proxy-Authorization", "Upgrade", "Connection", "X-Hop"} {
		if v, ok := back[name]; ok {
			t.Errorf("%s: %q was passed on", name, v)
		}
	}
	if back.Get("X-Stays") == "" {
		t.Errorf("got %v", back)
	}
	for name := range answers {
		if strings.Contains(strings.Replace(answer, "\r\nConnection: close\r\n", "\r\n", 1), "\r\n"+name+":") {
			t.Errorf("%s came back in %q", name, answer)
		}
	}
}

func TestForward_NamesTheClient(t *testing.T) {
	f := func(trust bool, fields string, want map[string]string) {
		t.Helper()
		w := start(t, func(c *Config) { c.Proxy.TrustForwarded = trust })
		w.put(route(routeMember(1, replica(t, echo()))))
		s := w.seen("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n" + fields + "\r\n")
		for name, v := range want {
			if got := s.Header[name]; len(got) != 1 || got[0] != v {
				t.Errorf("trust %v, %s: got %q, want %q", trust, name, got, v)
			}
		}
		testkit.Must(t, w.stop())
	}
	spoof := "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Host: worse\r\n"
	f(false, spoof, map[string]string{"X-Forwarded-For": "1.1.1.1, 2.2.2.2, 127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "h"})
	f(true, "X-Forwarded-Proto: https\r\nX-Forwarded-Host: www\r\n", map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "www"})
	f(false, "Connection: X-Forwarded-For, Host, Content-Length\r\n", map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "h"})
}

func TestForward_BodiesKeepTheirMeaning(t *testing.T) {
	w := start(t, nil)
	w.put(route(routeMember(1, replica(t, echo()))))
	f := func(raw, method, body string) {
		t.Helper()
		s := w.seen(raw)
		if s.Method != method || s.Body != body || len(s.Encoding) > 0 || s.Header["X-Role"] != nil || len(s.Trailer) > 0 {
			t.Errorf("%q arrived as %+v", raw, s)
		}
	}
	const end = "Host: h\r\nConnection: close\r\n"
	f("POST / HTTP/1.1\r\n"+end+"Content-Length: 5\r\n\r\nhello", "POST", "hello")
	f("POST / HTTP/1.1\r\n"+end+"Content-Length: 0\r\n\r\n", "POST", "")
	f("POST / HTTP/1.1\r\n"+end+"\r\n", "POST", "")
	f("POST / HTTP/1.1\r\n"+end+"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "POST", "hello")
	f("POST / HTTP/1.1\r\n"+end+"Trailer: X-Role\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Role: admin\r\n\r\n", "POST", "hello")
	f("PATCH / HTTP/1.1\r\n"+end+"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "PATCH", "")
	f("GET / HTTP/1.1\r\n"+end+"Content-Length: 5\r\n\r\nhello", "GET", "hello")
	f("GET / HTTP/1.1\r\n"+end+"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "GET", "hello")
	f("POST / HTTP/1.0\r\n"+end+"Content-Length: 5\r\n\r\nhello", "POST", "hello")
	f("GET http://other.example/x?y HTTP/1.1\r\n"+end+"\r\n", "GET", "")
	f("OPTIONS / HTTP/1.1\r\n"+end+"\r\n", "OPTIONS", "")
	if got := w.raw("OPTIONS * HTTP/1.1\r\n" + end + "\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200") { // net/http answers that itself
		t.Errorf("OPTIONS *: got %q", got)
	}
	f("PURGE / HTTP/1.1\r\n"+end+"\r\n", "PURGE", "")
	if s := w.seen("GET http://other.example/x/../y?z HTTP/1.1\r\n" + end + "\r\n"); s.Host != "other.example" || s.URI != "/x/../y?z" {
		t.Errorf("absolute form arrived as %+v", s)
	}
	got := w.raw("POST / HTTP/1.1\r\n" + end + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")
	if !strings.HasPrefix(got, "HTTP/1.1 100 ") || !strings.Contains(got, `"Body":"hello"`) || strings.Contains(got, `"Expect"`) {
		t.Errorf("a body that waits for leave: got %q", got)
	}
}

func TestForward_AnswersWithoutBody(t *testing.T) {
	w := start(t, nil)
	var code atomic.Int64
	w.put(route(routeMember(1, replica(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Etag", `"1"`)
		if code.Load() == 200 {
			rw.Header().Set("Content-Length", "1000000")
		}
		rw.WriteHeader(int(code.Load()))
	})))))
	for range 3 { // a wrong idea of the body would spoil the connection
		code.Store(200)
		if got := w.do("HEAD", "/", ""); got.code != 200 || got.header.Get("Content-Length") != "1000000" || got.header.Get("Etag") == "" {
			t.Fatalf("HEAD: %d %v", got.code, got.header)
		}
		code.Store(204)
		if got := w.do("GET", "/", ""); got.code != 204 || got.body != "" {
			t.Fatalf("204: %d %q", got.code, got.body)
		}
		code.Store(304)
		if got := w.do("GET", "/", ""); got.code != 304 || got.body != "" {
			t.Fatalf("304: %d %q", got.code, got.body)
		}
	}
}

// What two servers might read differently must not reach a member.
func TestServe_RefusesWhatIsNotPlainHTTP(t *testing.T) {
	var arrived atomic.Int64
	w := start(t, nil)
	w.put(route(routeMember(1, replica(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived.Add(1) })))))
	f := func(want, raw string) {
		t.Helper()
		before := arrived.Load()
		got := w.raw(raw)
		if !strings.HasPrefix(got, "HTTP/1.1 "+want) {
			t.Errorf("%.200q: got %.200q, want %s", raw, got, want)
		}
		if strings.Count(got, "HTTP/1.1 ") != 1 {
			t.Errorf("%.200q: got more than one answer: %.400q", raw, got)
		}
		if arrived.Load() != before {
			t.Errorf("%.200q reached a member", raw)
		}
	}
	const smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
	f("400", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+smuggled)
	f("400", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n"+smuggled)
	f("400", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\nContent-Length: 5\r\n\r\nhello"+smuggled)
	f("400", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\n\r\nhello"+smuggled)
	f("400", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nhello"+smuggled)
	f("400", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n"+smuggled)
	f("400", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x5\r\n\r\nhello"+smuggled)
	f("400", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 5\r\n\r\nhello"+smuggled)
	f("400", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"+smuggled)
	f("400", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"+smuggled)
	f("400", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"+smuggled)
	f("400", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+smuggled)
	f("400", "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+smuggled)
	f("400", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello"+smuggled)
	f("400", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"+smuggled)
	f("400", "POST / HTTP/1.1\r\nHost: h\r\nTrailer: X-Forwarded-For\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
	f("400", "GET / HTTP/1.1\r\nHost: h\r\n folded: x\r\n\r\n")
	f("400", "GET / HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n")
	f("400", "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX Y: 1\r\n\r\n")
	f("400", "GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n")
	f("400", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
	f("400", "GET / HTTP/1.1\r\n\r\n")
	f("400", "GET /\x01 HTTP/1.1\r\nHost: h\r\n\r\n")
	f("400", "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n")
	f("400", "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n")
	f("400", "GET nonsense HTTP/1.1\r\nHost: h\r\n\r\n")
	f("400", "rubbish\r\n\r\n")
	f("400", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
	f("400", "GET / HTTP/1.1 extra\r\nHost: h\r\n\r\n")
	f("505", "GET / HTTP/1.2\r\nHost: h\r\nConnection: close\r\n\r\n")
	f("431", "GET / HTTP/1.1\r\nHost: h\r\nX: "+strings.Repeat("x", 1<<17)+"\r\n\r\n")
	f("431", "GET /"+strings.Repeat("x", 1<<17)+" HTTP/1.1\r\nHost: h\r\n\r\n")
	f("413", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n")
	f("413", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 12000000\r\n\r\n"+strings.Repeat("x", 12_000_000))
	f("413", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n"+strings.Repeat("x", 0xffffff)+"\r\n0\r\n\r\n")
	f("405", "TRACE / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	f("405", "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nConnection: close\r\n\r\n")
	f("501", "GET / HTTP/1.1\r\nHost: h\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\n\r\n")
}

func TestServe_ASlowClientTimesOut(t *testing.T) { onEach(t, slowClientTimesOut) }

func slowClientTimesOut(t *testing.T, public func(*Config)) {
	w := start(t, func(c *Config) {
		public(c)
		c.Edge.ReadTimeout, c.Edge.IdleTimeout = 50*time.Millisecond, 50*time.Millisecond
	})
	w.put(route(routeMember(1, replica(t, replyWith("S1")))))
	f := func(sent, want string) {
		t.Helper()
		w.eventually(func() error { // a busy machine may be slower than the client that is to be slow
			c := w.dial()
			defer c.Close()
			testkit.Must(t, c.SetDeadline(time.Now().Add(testkit.Patience)))
			_, _ = io.WriteString(c, sent) // fails where the router was quicker
			got, err := io.ReadAll(c)
			if err != nil || !strings.HasPrefix(string(got), want) {
				return fmt.Errorf("%q: got %q, %v; want %q and the end", sent, got, err, want)
			}
			return nil
		})
	}
	f("", "")
	f("GET / HTTP/1.1\r\nHost:", "HTTP/1.1 408")
	f("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf", "HTTP/1.1 408")
	f("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200") // then idle
}

// Requests that follow each other on one connection must not share anything.
func TestServe_PipelinedRequestsGetTheirOwnAnswers(t *testing.T) {
	w := start(t, nil)
	w.put(route(routeMember(1, replica(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, "<"+r.URL.Path+r.Header.Get("X-Only")+">")
	})))))
	got := w.raw("GET /1 HTTP/1.1\r\nHost: h\r\nX-Only: one\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\nPOST /3 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
	for _, want := range []string{"</1one>", "</2>", "</3>"} {
		if strings.Count(got, want) != 1 {
			t.Errorf("%s is not once in %q", want, got)
		}
	}
}

// Closing on a client that still sends would reset the connection, and could
// cost it the answer.
func TestServe_ReadsOutWhatItRefused(t *testing.T) { onEach(t, readsOutWhatItRefused) }

func readsOutWhatItRefused(t *testing.T, public func(*Config)) {
	w := start(t, public)
	c := w.dial()
	defer c.Close()
	testkit.Must(t, c.SetDeadline(time.Now().Add(testkit.Patience)))
	const size = 12_000_000
	_, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size))
	if err != nil {
		t.Fatalf("the body was cut off: %v", err)
	}
	testkit.Must(t, c.(interface{ CloseWrite() error }).CloseWrite())
	got, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 413") {
		t.Fatalf("got %q, %v", got, err)
	}
}
