package router

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"

	"ringway/internal/testkit"
)

// A member that hangs, or whose host fell silent, answers nothing and refuses
// nothing. When it leaves the rotation, what waits there goes on elsewhere if
// it may be sent twice; the rest, and answers that have begun, are left alone.
func TestRouter_RequestsAtAMemberThatLeftGoOnElsewhere(t *testing.T) {
	f := func(name, method, after, want string) {
		t.Helper()
		w := start(t, nil)
		arrived, answer := make(chan struct{}), make(chan struct{})
		first := scripted(t, func(_ int, c net.Conn, br *bufio.Reader) {
			for i := 0; ; i++ {
				if _, ok := readRequest(br); !ok {
					return
				}
				if i == 0 { // so that the one that hangs is sent on a connection that was kept
					_, _ = io.WriteString(c, okAnswer)
					continue
				}
				close(arrived)
				<-answer
				_, _ = io.WriteString(c, after)
			}
		})
		second := routeMember(2, replica(t, replyWith("S2")))
		w.put(only(route(routeMember(1, first), second)))
		key := firstChoice(w)
		w.do("GET", "/home", "", "X-Ringway-Key", key)
		got := make(chan result, 1)
		go func() {
			res, err := w.try(method, "/home", "x", "X-Ringway-Key", key)
			if err != nil {
				res.body = err.Error()
			}
			got <- res
		}()
		<-arrived
		w.put(route(second))
		if want != "S2" {
			close(answer)
		}
		select {
		case res := <-got:
			if res.code != 200 || res.body != want {
				t.Errorf("%s: got %d %s, want %s", name, res.code, res.body, want)
			}
		case <-time.After(testkit.Patience):
			t.Errorf("%s: no answer", name)
		}
		if want == "S2" {
			close(answer)
		}
		testkit.Must(t, w.stop())
	}
	f("not answered", "GET", "", "S2")
	f("not idempotent", "POST", okAnswer, "ok")
}

// Without another member to go to, a slow answer is better than none.
func TestRouter_RequestsAtTheLastMemberThatLeftGoOnThere(t *testing.T) {
	w := start(t, nil)
	arrived, answer := make(chan struct{}), make(chan struct{})
	w.put(route(routeMember(1, scripted(t, func(_ int, c net.Conn, br *bufio.Reader) {
		readRequest(br)
		close(arrived)
		<-answer
		_, _ = io.WriteString(c, okAnswer)
	}))))
	got := make(chan result, 1)
	go func() {
		res, _ := w.try("GET", "/home", "")
		got <- res
	}()
	<-arrived
	w.put(route())
	close(answer)
	if res := <-got; res.code != 200 || res.body != "ok" {
		t.Fatalf("got %d %s", res.code, res.body)
	}
}
