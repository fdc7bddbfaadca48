package router

import "testing"

func TestOddLines(t *testing.T) {
	f := func(raw string, want oddity) {
		t.Helper()
		if got := oddLines([]byte(raw)); got != want {
			t.Errorf("%q: got %b, want %b", raw, got, want)
		}
	}
	f("", 0)
	f("Host: x\r\nAccept: te\r\nX-Te: 1\r\nTeX: 1\r\n\r\n", 0)
	f("Host: x\r\nTE: trailers\r\n", ofHop)
	f("te :x", ofHop)
	f("te\t :", ofHop)
	f("Keep-Alive: 5\nConnection:\nuPGRADE: x\n", ofHop|ofConnection|ofUpgrade)
	f("transfer-encoding: chunked\r\n", ofFraming)
	f("Trailer: X\r\n", ofFraming)
	f("Proxy-Authorization: x", ofHop)
	f("Proxy-Authorizations: x", 0)
	f(": te\r\n\r\n", 0)
}
