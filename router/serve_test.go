package router

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/internal/testkit"
)

func TestRouter_ForwardsByKey(t *testing.T) {
	w := start(t, nil)
	w.put(route(routeMember(1, replica(t, replyWith("S1"))), routeMember(2, replica(t, replyWith("S2"))), routeMember(3, replica(t, replyWith("S3")))))
	table := w.table()
	for i := range 50 {
		key := fmt.Sprint("user", i)
		want := w.last.Members[table.Owner(table.Slot(hashOf(key)))].Name
		if got := w.do("GET", "/home", "", "X-Ringway-Key", key); got.code != 200 || got.body != want {
			t.Fatalf("key %s: got %d %s, want %s", key, got.code, got.body, want)
		}
	}
}

// Else clients that send none would be spread at random, and those that do could
// choose their member.
func TestRouter_AKeyMayBeAFieldThatTheRouterAdds(t *testing.T) {
	w := start(t, nil)
	var members []events.Member
	for i := range 3 {
		members = append(members, routeMember(i+1, replica(t, replyWith(fmt.Sprint("S", i+1)))))
	}
	f := func(field, added, sent, value string) {
		t.Helper()
		r := route(members...)
		r.Key = events.KeySource{From: "header", Name: field}
		w.put(r)
		table := w.table()
		for range 20 {
			if got, want := w.do("GET", "/home", ""), members[table.Owner(table.Slot(hashOf(added)))].Name; got.body != want {
				t.Fatalf("%s: got %d %s, want %s", field, got.code, got.body, want)
			}
			if got, want := w.do("GET", "/home", "", field, sent), members[table.Owner(table.Slot(hashOf(value)))].Name; got.body != want {
				t.Fatalf("%s: %s: got %d %s, want %s", field, sent, got.code, got.body, want)
			}
		}
	}
	host := strings.TrimPrefix(w.url, "http://")
	f("X-Forwarded-For", "127.0.0.1", "192.0.2.1", "192.0.2.1, 127.0.0.1")
	f("X-Forwarded-Host", host, "evil", host)
}

func TestRouter_LosesNoRequestWhenMembersAreKilled(t *testing.T) {
	w := start(t, nil)
	var members []events.Member
	var replicas []*process
	for i := 1; i <= 3; i++ {
		p := startProcess(t, fmt.Sprint(i))
		replicas = append(replicas, p)
		members = append(members, routeMember(i, p.address))
	}
	w.put(route(members...))

	const total, concurrent = 10_000, 100
	var begun, bad atomic.Int64
	var kill sync.Once
	var clients sync.WaitGroup
	for range concurrent {
		clients.Go(func() {
			for begun.Add(1) <= total {
				got, err := w.try("GET", "/home", "")
				if err != nil || got.code != 200 {
					if bad.Add(1) < 5 {
						t.Errorf("got %v %v %s", err, got.code, got.body)
					}
				}
				if begun.Load() > total/3 {
					kill.Do(func() { _ = replicas[1].cmd.Process.Kill() })
				}
			}
		})
	}
	clients.Wait()
	if n := bad.Load(); n > 0 {
		t.Fatalf("%d of %d requests failed", n, total)
	}
	if !w.served().Members[1].Ejected {
		t.Fatal("the killed member is not ejected")
	}
}

// echoing is the address of a member that answers whatever it gets at once, and
// does not allocate.
func echoing(t testing.TB) string {
	l, err := newLoopback()
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer c.Close()
				in, out := make([]byte, 4<<10), []byte(okAnswer)
				for {
					if _, err := c.Read(in); err != nil {
						return
					}
					if _, err := c.Write(out); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); open.Wait() })
	return l.Addr().String()
}

// unstarted is a router that does not run, with n members at one address, and a
// request for it.
func unstarted(t testing.TB, n int, change func(*events.Route)) (*Router, *fasthttp.RequestCtx) {
	cfg := DefaultConfig()
	cfg.ID = "r1"
	l, err := newLoopback()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	cfg.Public = []net.Listener{l}
	r, err := New(cfg, newBucket(), &fakeBus{}, noLogs{}, nil, testkit.Quiet)
	if err != nil {
		t.Fatal(err)
	}
	address := echoing(t)
	var members []events.Member
	for i := 1; i <= n; i++ {
		members = append(members, routeMember(i, address))
	}
	rt := route(members...)
	rt.Paths = []string{"/home", "/heartbeat"}
	if change != nil {
		change(&rt)
	}
	value, err := json.Marshal(rt)
	if err != nil {
		t.Fatal(err)
	}
	r.apply(events.Entry{Key: events.ServiceKey(rt.Service), Value: value, Version: events.Epoch{Incarnation: "one", Revision: 1}})
	t.Cleanup(r.proxy.CloseAll)
	return r, &fasthttp.RequestCtx{}
}

const replayedRequest = "GET /home?a=b HTTP/1.1\r\nHost: example.org\r\nUser-Agent: test\r\nX-Ringway-Key: user-4711\r\n" +
	"Cookie: session=4711; other=1\r\nConnection: keep-alive\r\nX-Forwarded-For: 10.1.1.1\r\nAccept: */*\r\n\r\n"

// replayed reads one request again and again, as the server does.
type replayed struct {
	src strings.Reader
	br  *bufio.Reader
}

func newReplayed() *replayed {
	a := &replayed{}
	a.br = bufio.NewReader(&a.src)
	return a
}

func (a *replayed) read(ctx *fasthttp.RequestCtx) {
	a.src.Reset(replayedRequest)
	a.br.Reset(&a.src)
	ctx.Request.Reset()
	ctx.Response.Reset()
	if err := ctx.Request.Header.Read(a.br); err != nil {
		panic(err)
	}
}

func TestServeAllocs(t *testing.T) {
	f := func(name string, change func(*events.Route)) {
		t.Helper()
		r, ctx := unstarted(t, 3, change)
		a := newReplayed()
		got := testkit.Allocs(1000, func() { a.read(ctx); r.dispatch(ctx) })
		if got != 0 {
			t.Errorf("%s: %v allocations for each request", name, got)
		}
		if ctx.Response.StatusCode() != 200 {
			t.Errorf("%s: got %d %s", name, ctx.Response.StatusCode(), ctx.Response.Body())
		}
	}
	from := func(k events.KeySource) func(*events.Route) { return func(r *events.Route) { r.Key = k } }
	f("header", nil)
	f("no key", from(events.KeySource{From: "header", Name: "X-None"}))
	f("cookie", from(events.KeySource{From: "cookie", Name: "session"}))
	f("query", from(events.KeySource{From: "query", Name: "a"}))
	f("path", from(events.KeySource{From: "path"}))
	f("address", from(events.KeySource{From: "address"}))
	f("unbounded", func(r *events.Route) { r.LoadFactor = 0 })
	f("course", func(r *events.Route) { r.Algorithm = events.Course })
}

func BenchmarkServe(b *testing.B) {
	for _, n := range []int{3, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r, ctx := unstarted(b, n, nil)
			a := newReplayed()
			b.ReportAllocs()
			for b.Loop() {
				a.read(ctx)
				r.dispatch(ctx)
			}
		})
	}
}
