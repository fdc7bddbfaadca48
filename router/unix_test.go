package router

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"ringway/events"
	"ringway/internal/testkit"
)

// A client on a Unix socket has no address, and members get none.
func TestUnix_MembersGetNoAddress(t *testing.T) {
	w := start(t, onUnix(t))
	w.put(route(routeMember(1, replica(t, echo()))))
	f := func(fields string, want ...string) {
		t.Helper()
		s := w.seen("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n" + fields + "\r\n")
		if got := s.Header["X-Forwarded-For"]; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q: members see %q, want %q", fields, got, want)
		}
		if s.Header.Get("X-Forwarded-Proto") != "http" || s.Header.Get("X-Forwarded-Host") != "h" {
			t.Errorf("%q: members see %v", fields, s.Header)
		}
	}
	f("")
	f("X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1")
	f("X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\nX-Forwarded-Proto: https\r\n", "192.0.2.1, 192.0.2.2")
}

// Else all of them would be at one member.
func TestUnix_ClientsAreSpreadWhereTheirAddressIsTheKey(t *testing.T) {
	w := start(t, onUnix(t))
	var members []events.Member
	for i := range 3 {
		members = append(members, routeMember(i+1, replica(t, replyWith(fmt.Sprint("S", i+1)))))
	}
	r := route(members...)
	r.Key = events.KeySource{From: "address"}
	w.put(r)
	seen := map[string]bool{}
	for range 200 {
		got := w.do("GET", "/home", "")
		if got.code != 200 {
			t.Fatalf("got %d %s", got.code, got.body)
		}
		seen[got.body] = true
	}
	if len(seen) != 3 {
		t.Errorf("%v answered", seen)
	}
}

func TestUnix_HasTheLimitsAndTheMetricsOfAPort(t *testing.T) {
	w := start(t, onUnix(t))
	w.put(route(routeMember(1, replica(t, replyWith("S1")))))
	f := func(code, sent string) {
		t.Helper()
		if got := w.raw(sent); !strings.HasPrefix(got, "HTTP/1.1 "+code) {
			t.Errorf("%.60q: got %.80q, want %s", sent, got, code)
		}
	}
	f("200", "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	f("431", "GET / HTTP/1.1\r\nHost: h\r\nX: "+strings.Repeat("x", 1<<17)+"\r\n\r\n")
	f("413", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n")
	w.eventually(func() error {
		resp, err := http.Get("http://" + w.r.cfg.Admin.Addr().String() + "/metrics")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		for _, want := range []string{`{code="2xx",member="S1",service="web"} 1`, `{code="4xx",member="",service=""} 2`} {
			if !strings.Contains(string(b), "ringway_router_answers_total"+want) {
				return fmt.Errorf("%w: %s is not in %s", err, want, b)
			}
		}
		return err
	})
}

func TestRouter_ServesAtEveryListener(t *testing.T) {
	w := start(t, func(c *Config) { c.Public = append(c.Public, listenUnix(t), listen(t)) })
	w.put(route(routeMember(1, replica(t, replyWith("S1")))))
	all := w.r.cfg.Public
	for _, l := range all {
		c, err := net.Dial(l.Addr().Network(), l.Addr().String())
		testkit.Must(t, err)
		defer c.Close()
		testkit.Must(t, c.SetDeadline(time.Now().Add(testkit.Patience)))
		_, err = io.WriteString(c, "GET /home HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		testkit.Must(t, err)
		if got, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(got), "S1") {
			t.Errorf("at %s: got %q, %v", l.Addr(), got, err)
		}
	}
	if got := w.r.heartbeat(time.Now()).Address; got != all[0].Addr().String() {
		t.Errorf("heartbeats name %s", got)
	}
	if got := addressOf(all[1]); got != "unix:"+all[1].Addr().String() {
		t.Errorf("the socket is named %s", got)
	}
	testkit.Must(t, w.stop())
	for _, l := range all {
		if c, err := l.Accept(); err == nil {
			_ = c.Close()
			t.Errorf("%s is open after the end", l.Addr())
		}
	}
}
