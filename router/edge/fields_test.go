package edge

import "testing"

func TestScanFields(t *testing.T) {
	f := func(raw string, want Fields) {
		t.Helper()
		if got := scanFields([]byte(raw)); got != want {
			t.Errorf("%q: got %b, want %b", raw, got, want)
		}
	}
	f("", 0)
	f("Host: x\r\nAccept: te\r\nX-Te: 1\r\nTeX: 1\r\n\r\n", 0)
	f("Host: x\r\nTE: trailers\r\n", fieldHopByHop)
	f("te :x", fieldHopByHop)
	f("te\t :", fieldHopByHop)
	f("Keep-Alive: 5\nConnection:\nuPGRADE: x\n", fieldHopByHop|fieldConnection|fieldUpgrade)
	f("transfer-encoding: chunked\r\n", fieldFraming)
	f("Trailer: X\r\n", fieldFraming)
	f("Proxy-Authorization: x", fieldHopByHop)
	f("Proxy-Authorizations: x", 0)
	f(": te\r\n\r\n", 0)
}
