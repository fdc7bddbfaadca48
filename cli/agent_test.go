package cli

import (
	"context"
	"strings"
	"testing"

	"ringway/cli/console"
	"ringway/events"
)

func TestAgent_FlagsOfContainers(t *testing.T) {
	f := func(want string, args ...string) AgentOptions {
		t.Helper()
		var got AgentOptions
		w := Wiring{Agent: func(_ context.Context, o AgentOptions) error { got = o; return nil }}
		code, _, errs := run(t, w, append([]string{"agent", "--host", "host-1"}, args...)...)
		if want == "" && code != console.ExitOK || want != "" && (code != console.ExitUsage || !strings.Contains(errs, want)) {
			t.Errorf("%v: code %d, %s; want %q", args, code, errs, want)
		}
		return got
	}
	if o := f(""); o.Runtime != RuntimeProcess {
		t.Errorf("got %+v", o)
	}
	o := f("", "--runtime", "docker", "--image", "ringway:1", "--network", "n", "--advertise", "192.0.2.7", "--cluster", "shop")
	if o.Runtime != RuntimeDocker || o.Image != "ringway:1" || o.Network != "n" || o.Advertise != "192.0.2.7" || o.Cluster != "shop" {
		t.Errorf("got %+v", o)
	}
	f("use process or docker", "--runtime", "podman")
	if o.ShardImage != "" || o.ContainerNATS != o.NATS || o.NATS == "" {
		t.Errorf("got %+v", o)
	}
	o = f("", "--runtime", "docker", "--shard-image", "shard:1", "--container-nats", "bus:4222")
	if o.ShardImage != "shard:1" || o.ContainerNATS != "nats://bus:4222" || o.NATS == o.ContainerNATS {
		t.Errorf("got %+v", o)
	}
	f("--shard-image needs --runtime docker", "--shard-image", "x")
	f("--container-nats", "--runtime", "docker", "--container-nats", "http://x y")
	f("--image needs --runtime docker", "--image", "x")
	f("--advertise needs --runtime docker", "--advertise", "192.0.2.7")
	f("give an IP address", "--runtime", "docker", "--advertise", "rack3-7")
	f("give an IP address", "--runtime", "docker", "--advertise", "0.0.0.0")
	f("--cluster: name", "--runtime", "docker", "--cluster", "a b")
}

// What cannot be the name of a host as it is, or is many machines', is made one that is the machine's alone.
func TestHostName_IsTheMachinesAlone(t *testing.T) {
	f := func(want string, machine, id string) {
		t.Helper()
		got := nameOf(machine, id)
		if err := events.ValidName(got); err != nil || len(got) > 40 || !strings.HasPrefix(got, want) {
			t.Errorf("machine %q is named %q: %v", machine, got, err)
		}
	}
	f("web-7", "web-7", "m1")
	f("host-", "", "m1")
	f("host-", "..", "m1")
	f("a-", "a", "m1")
	f("b-", "b", "m1")
	f("a-", "a..", "m1")
	f("my-host-", "my host", "m1")
	f("localhost-", "localhost", "m1")
	f("x-x-", "x..x", "m1")
	long := strings.Repeat("node.", 9)
	names := map[string]string{}
	for _, m := range []string{"a", "b", "", "my host", "my-host", "my_host ", long + "a", long + "b", strings.Repeat("é", 40), "localhost"} {
		for _, id := range []string{"m1", "m2"} {
			name := nameOf(m, id)
			f("", m, id)
			if was, ok := names[name]; ok && m != "my-host" {
				t.Errorf("%q is the name of %q and %q", name, was, m+id)
			}
			names[name] = m + id
		}
	}
}
