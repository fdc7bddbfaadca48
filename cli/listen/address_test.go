package listen

import (
	"os"
	"strings"
	"testing"

	"ringway/cli/console"
	"ringway/internal/testkit"
)

func TestNATSURL(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:4222": "nats://127.0.0.1:4222", "bus": "nats://bus:4222", "nats://bus:1/": "nats://bus:1", "tls://u:p@bus": "tls://u:p@bus:4222",
		"a:1, b:2": "nats://a:1,nats://b:2", "[::1]:4222": "nats://[::1]:4222",
		"": "", ":4222": "", "http://x": "", "x:0": "", "x:99999": "", "x:y": "", "a,": "", "nats://a/b": "",
	} {
		got, err := NATSURL(in)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestPublicAddresses(t *testing.T) {
	here, err := os.Getwd()
	testkit.Must(t, err)
	f := func(want string, given ...string) {
		t.Helper()
		all, err := PublicAddresses("--listen", given)
		got := strings.Join(all, " ")
		if err != nil {
			if console.ExitCode(err) != console.ExitUsage {
				t.Errorf("%q: exit code %d", given, console.ExitCode(err))
			}
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", given, got, want)
		}
	}
	f("127.0.0.1:5000", "127.0.0.1:5000")
	f("127.0.0.1:5000 [::1]:0 unix:/b unix:/a", "unix:/b", "127.0.0.1:5000", "unix:///a", "[::1]:0")
	f("unix:"+here+"/@x", "unix:@x") // a file, and none of those without one
	f(`--listen "5000": want host:port, like 127.0.0.1:5000, or unix:/path/to.sock`, "5000")
	f(`--listen "unix@/x": want host:port, like 127.0.0.1:5000, or unix:/path/to.sock`, "unix@/x")
	f(`--listen "unix:": want a path, like unix:/run/ringway.sock`, "unix:")
	f("--listen: 0 addresses; give 1 to 8")
	f("--listen: 9 addresses; give 1 to 8", strings.Split("unix:/1 unix:/2 unix:/3 unix:/4 unix:/5 unix:/6 unix:/7 unix:/8 unix:/9", " ")...)
}
