package main

import (
	"context"
	"crypto/rand"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"ringway/internal/testkit"
)

// testStack is a stack on the real engine with a name of its own. Nothing of it
// is left at the end.
type testStack struct {
	*stack
	t   *testing.T
	out *testkit.Buffer
}

func newTestStack(t *testing.T) *testStack {
	t.Helper()
	tools := detectTools(t.Context())
	if tools.missing != "" {
		if os.Getenv("CI") != "" {
			t.Fatal(tools.missing)
		}
		t.Skip(tools.missing)
	}
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	s := newStack(root, tools)
	s.cluster = "rwtest-" + strings.ToLower(rand.Text()[:8])
	s.image, s.shardImage = s.cluster+":test", s.cluster+"-shard:test"
	s.http, s.admin, s.nats = freePort(t), freePort(t), freePort(t)
	e := &testStack{stack: s, t: t, out: &testkit.Buffer{}}
	s.out, s.err = e.out, e.out
	t.Cleanup(e.clean)
	return e
}

func (e *testStack) clean() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if e.t.Failed() {
		e.t.Logf("up printed:\n%s", e.out)
		logs, _ := e.composeCommand(ctx, "logs", "--no-color", "--tail", "40").CombinedOutput()
		e.t.Logf("%s", logs)
	}
	if err := e.down(ctx, true); err != nil {
		e.t.Error(err)
	}
	for _, image := range []string{e.shardImage, e.image} {
		if _, err := output(ctx, "docker", "image", "rm", "-f", image); err != nil {
			e.t.Error(err)
		}
	}
	for _, list := range [][]string{{"ps", "-aq", "--filter", "name=" + e.cluster}, {"network", "ls", "-q", "--filter", "name=" + e.cluster}, {"volume", "ls", "-q", "--filter", "name=" + e.cluster}} {
		if left, err := output(ctx, "docker", list...); err != nil || left != "" {
			e.t.Errorf("docker %s: %s is left (%v)", strings.Join(list, " "), left, err)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(testkit.Address(t))
	testkit.Must(t, err)
	return port
}

func (e *testStack) docker(args ...string) string {
	e.t.Helper()
	out, err := output(e.t.Context(), "docker", args...)
	if err != nil {
		e.t.Fatal(err)
	}
	return out
}
