package listen

import (
	"strings"
	"testing"
)

func TestListen_FaultsNameAddressAndFlag(t *testing.T) {
	l, err := Open("127.0.0.1:0", "--listen")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	_, err = Open(taken, "--admin")
	wantError(t, err, taken, "in use", "--admin")
	_, err = FreePort(taken, "--nats")
	wantError(t, err, taken, "in use", "--nats")
	_, err = Open("192.0.2.1:5000", "--listen")
	wantError(t, err, "192.0.2.1:5000", "--listen")
	free, err := FreePort("127.0.0.1:0", "--nats")
	if err != nil || strings.HasSuffix(free, ":0") {
		t.Fatalf("%q, %v", free, err)
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not mention %q", err, p)
		}
	}
}
