package router

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ringway/events"
	"ringway/internal/testkit"
)

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// only makes every slot the first member's, so that it is the first choice.
func only(r events.Route) events.Route {
	for i := range r.Slots {
		r.Slots[i] = uint16(min(i, len(r.Members)-1)) // the others own a slot, to be next choices
	}
	for i := len(r.Members); i < len(r.Slots); i++ {
		r.Slots[i] = 0
	}
	r.LoadFactor = 0
	return r
}

// firstChoice is a key whose owner is the first member.
func firstChoice(w *world) string {
	table := w.table()
	for i := range 10_000 {
		key := fmt.Sprint("k", i)
		if table.Owner(table.Slot(hashOf(key))) == 0 {
			return key
		}
	}
	panic("no key")
}

func TestRouter_TakesTheNextChoiceWhenAConnectionIsRefused(t *testing.T) {
	w := start(t, nil)
	w.put(only(route(routeMember(1, testkit.Address(t)), routeMember(2, replica(t, replyWith("S2"))))))
	key := firstChoice(w)
	for _, method := range []string{"GET", "POST", "PATCH"} { // nothing was sent, so all may go on
		if got := w.do(method, "/home", "x", "X-Ringway-Key", key); got.code != 200 || got.body != "S2" {
			t.Errorf("%s: got %d %s", method, got.code, got.body)
		}
	}
	if !w.served().Members[0].Ejected {
		t.Error("the member that refuses is not ejected")
	}
}

func TestRouter_ReadmitsAMemberThatComesBack(t *testing.T) {
	w := start(t, nil)
	address := testkit.Address(t)
	w.put(only(route(routeMember(1, address), routeMember(2, replica(t, replyWith("S2"))))))
	key := firstChoice(w)
	w.do("GET", "/home", "", "X-Ringway-Key", key)
	l, err := net.Listen("tcp", address)
	testkit.Must(t, err)
	s := &http.Server{Handler: replyWith("S1")}
	go func() { _ = s.Serve(l) }()
	defer s.Close()
	w.eventually(func() error {
		if got := w.do("GET", "/home", "", "X-Ringway-Key", key); got.body != "S1" {
			return fmt.Errorf("%s answers", got.body)
		}
		return nil
	})
}

func TestRouter_TriesEjectedMembersWhenNoOtherIsLeft(t *testing.T) {
	w := start(t, func(c *Config) { c.Proxy.TrialAfter, c.Proxy.MaxTrial = time.Hour, time.Hour })
	address := testkit.Address(t)
	w.put(route(routeMember(1, address)))
	got := w.do("GET", "/home", "")
	if got.code != 503 || got.header.Get("Retry-After") == "" {
		t.Fatalf("got %d %v", got.code, got.header)
	}
	l, err := net.Listen("tcp", address)
	testkit.Must(t, err)
	s := &http.Server{Handler: replyWith("S1")}
	go func() { _ = s.Serve(l) }()
	defer s.Close()
	if got := w.do("GET", "/home", ""); got.body != "S1" {
		t.Fatalf("got %d %s", got.code, got.body)
	}
}

func TestRouter_RepeatsOnlyWhatMayBeRepeated(t *testing.T) {
	f := func(name, method string, talk func(int, net.Conn, *bufio.Reader), want int, body string) {
		t.Helper()
		w := start(t, nil)
		w.put(only(route(routeMember(1, scripted(t, talk)), routeMember(2, replica(t, replyWith("S2"))))))
		got := w.do(method, "/home", "x", "X-Ringway-Key", firstChoice(w))
		if got.code != want || body != "" && got.body != body {
			t.Errorf("%s %s: got %d %s, want %d %s", name, method, got.code, got.body, want, body)
		}
		if err := w.idle(); err != nil {
			t.Errorf("%s %s: afterwards %v", name, method, err)
		}
		testkit.Must(t, w.stop())
	}
	resets := func(_ int, c net.Conn, br *bufio.Reader) { readRequest(br); reset(c) }
	ends := func(_ int, _ net.Conn, br *bufio.Reader) { readRequest(br) }
	diesInAnswer := func(_ int, c net.Conn, br *bufio.Reader) {
		readRequest(br)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
	}
	diesInHeader := func(_ int, c net.Conn, br *bufio.Reader) {
		readRequest(br)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Len")
	}
	for _, method := range []string{"GET", "PUT", "DELETE", "OPTIONS"} {
		f("reset", method, resets, 200, "S2")
		f("end", method, ends, 200, "S2")
		f("end in the answer", method, diesInAnswer, 200, "S2")
		f("end in the header", method, diesInHeader, 200, "S2")
	}
	for _, method := range []string{"POST", "PATCH"} {
		f("reset", method, resets, 502, "")
		f("end", method, ends, 502, "")
		f("end in the answer", method, diesInAnswer, 502, "")
	}
	rubbish := func(_ int, c net.Conn, br *bufio.Reader) { readRequest(br); _, _ = io.WriteString(c, "what?\r\n\r\n") }
	f("rubbish", "GET", rubbish, 502, "")
	switching := func(_ int, c net.Conn, br *bufio.Reader) {
		readRequest(br)
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
	}
	f("unasked upgrade", "GET", switching, 502, "")
	early := func(_ int, c net.Conn, br *bufio.Reader) {
		readRequest(br)
		_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"+okAnswer)
	}
	f("interim answer", "GET", early, 200, "ok")
	huge := func(_ int, c net.Conn, br *bufio.Reader) {
		readRequest(br)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 1<<20)+"\r\n\r\n")
	}
	f("endless header", "GET", huge, 502, "")
}

// A server that ends kept connections looks like this: the request is on its
// way when the end arrives.
func TestRouter_RepeatsOnAFreshConnectionOfTheSameMember(t *testing.T) {
	var conns atomic.Int64
	address := scripted(t, func(n int, c net.Conn, br *bufio.Reader) {
		conns.Add(1)
		readRequest(br)
		_, _ = io.WriteString(c, okAnswer)
		if n > 0 {
			return
		}
		readRequest(br) // the second one on the first connection
		reset(c)
	})
	w := start(t, nil)
	w.put(route(routeMember(1, address)))
	for range 2 {
		if got := w.do("GET", "/home", ""); got.code != 200 {
			t.Fatalf("got %d %s", got.code, got.body)
		}
	}
	if n := conns.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// A POST cannot be sent twice, so a dead connection must be noticed before.
func TestRouter_NoticesAnEndedConnectionBeforeItSendsAPost(t *testing.T) {
	ended := make(chan struct{}, 1)
	address := scripted(t, func(_ int, c net.Conn, br *bufio.Reader) {
		readRequest(br)
		_, _ = io.WriteString(c, okAnswer)
		_ = c.Close()
		ended <- struct{}{}
	})
	w := start(t, nil)
	w.put(route(routeMember(1, address)))
	for range 20 {
		if got := w.do("POST", "/home", "x"); got.code != 200 {
			t.Fatalf("got %d %s", got.code, got.body)
		}
		<-ended
	}
}

func TestRouter_AnswersLateWith504(t *testing.T) {
	w := start(t, nil)
	stuck := scripted(t, func(_ int, _ net.Conn, br *bufio.Reader) { readRequest(br); _, _ = br.ReadByte() })
	r := only(route(routeMember(1, stuck), routeMember(2, replica(t, replyWith("S2")))))
	r.Timeout = events.Duration(50 * time.Millisecond)
	w.put(r)
	if got := w.do("GET", "/home", "", "X-Ringway-Key", firstChoice(w)); got.code != 504 {
		t.Fatalf("got %d %s", got.code, got.body)
	}
}

func TestRouter_AnOutageDoesNotMultiplyLoad(t *testing.T) {
	var arrived atomic.Int64
	resets := func(_ int, c net.Conn, br *bufio.Reader) { readRequest(br); arrived.Add(1); reset(c) }
	w := start(t, func(c *Config) { c.Proxy.RetryBurst, c.Proxy.RetryRatio = 5, 10 })
	w.put(route(routeMember(1, scripted(t, resets)), routeMember(2, scripted(t, resets)), routeMember(3, scripted(t, resets))))
	const n = 100
	for range n {
		if got := w.do("GET", "/home", ""); got.code != 502 {
			t.Fatalf("got %d %s", got.code, got.body)
		}
	}
	if got := arrived.Load(); got > n+5+n/10 {
		t.Fatalf("%d requests became %d", n, got)
	}
}

func TestRouter_StreamsLargeAnswers(t *testing.T) {
	const size = 20 << 20
	chunk := strings.Repeat("0123456789abcdef", 4096)
	var sized atomic.Bool
	address := replica(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if sized.Load() {
			w.Header().Set("Content-Length", fmt.Sprint(size))
		}
		for range size / len(chunk) {
			_, _ = io.WriteString(w, chunk)
		}
	}))
	w := start(t, nil)
	w.put(route(routeMember(1, address)))
	for _, withLength := range []bool{true, false} {
		sized.Store(withLength)
		for range 2 { // the connection is used again
			got := w.do("GET", "/home", "")
			if got.code != 200 || got.body != strings.Repeat(chunk, size/len(chunk)) {
				t.Fatalf("length %v: got %d and %d bytes", withLength, got.code, len(got.body))
			}
		}
	}
	w.eventually(w.idle)
}

func TestRouter_PassesOnWhatIsThereOfAnEndlessAnswer(t *testing.T) {
	proceed := make(chan struct{})
	address := replica(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-proceed:
			case <-r.Context().Done():
				return
			}
		}
	}))
	w := start(t, nil)
	w.put(route(routeMember(1, address)))
	resp, err := w.client.Get(w.url + "/home")
	testkit.Must(t, err)
	defer resp.Body.Close()
	br := bufio.NewReader(resp.Body)
	for i := range 3 {
		line, err := br.ReadString('\n')
		if err != nil || line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("got %q, %v", line, err)
		}
		_, _ = br.ReadString('\n')
		proceed <- struct{}{}
	}
}

func TestRouter_AnAnswerThatBreaksOffIsNotTakenForWhole(t *testing.T) {
	f := func(name, head string) {
		t.Helper()
		w := start(t, func(c *Config) { c.Proxy.MaxBuffer = 16 })
		w.put(route(routeMember(1, scripted(t, func(_ int, c net.Conn, br *bufio.Reader) {
			readRequest(br)
			_, _ = io.WriteString(c, head+strings.Repeat("x", 50))
		}))))
		if got, err := w.try("GET", "/home", ""); err == nil && got.code == 200 {
			t.Errorf("%s: got %d with %d bytes and no error", name, got.code, len(got.body))
		}
		testkit.Must(t, w.stop())
	}
	f("length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
	f("chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n")
}

func TestRouter_SwapsUnderLoad(t *testing.T) {
	w := start(t, nil)
	var members []events.Member
	for i := 1; i <= 4; i++ {
		members = append(members, routeMember(i, replica(t, replyWith(fmt.Sprint("S", i)))))
	}
	w.put(route(members...))
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got, err := w.try("GET", "/home", ""); err != nil || got.code != 200 {
					t.Errorf("got %v %d %s", err, got.code, got.body)
					return
				}
			}
		})
	}
	for i := range 200 {
		set := append([]events.Member(nil), members[i%3:]...)
		set[0].Draining = i%2 == 0
		w.put(route(set...))
	}
	close(stop)
	clients.Wait()
	w.eventually(w.idle)
}

// A client of HTTP/1.0 cannot read chunks.
func TestRouter_GivesAnOldClientItsAnswerInOnePiece(t *testing.T) {
	w := start(t, nil)
	w.put(route(routeMember(1, replica(t, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		for range 3 {
			_, _ = io.WriteString(rw, "part;")
			_ = http.NewResponseController(rw).Flush()
		}
	})))))
	got := w.raw("GET /home HTTP/1.0\r\n\r\n")
	if strings.Contains(strings.ToLower(got), "chunked") || !strings.HasSuffix(got, "\r\n\r\npart;part;part;") {
		t.Errorf("got %q", got)
	}
}
