package cli

import (
	"context"
	"strings"
	"testing"

	"ringway/cli/console"
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
