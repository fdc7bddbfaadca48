package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"ringway/e2e/writers"
)

// nemesis harms the containers of a cluster, at random but for its seed.
type nemesis struct {
	e     *e2e
	rng   *rand.Rand
	roles map[string]string // their containers
	done  map[string]int    // what it did
}

// newNemesis looks at what runs. RINGWAY_SEED repeats the order of harm and its
// lengths; names of shard servers are new in every run.
func newNemesis(e *e2e) *nemesis {
	e.t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("RINGWAY_SEED"), 10, 64); err == nil {
		seed = s
	}
	e.t.Logf("RINGWAY_SEED=%d", seed)
	n := &nemesis{e: e, rng: rand.New(rand.NewPCG(seed, 0)), roles: map[string]string{}, done: map[string]int{}}
	for _, name := range append([]string{"router", "bus", "controller"}, hosts...) {
		n.roles[name] = e.role(name)
	}
	return n
}

// harm is one kind of fault. It returns when the fault is over, but for what
// the cluster has to repair by itself.
type harm struct {
	name string
	do   func(ctx context.Context, n *nemesis) bool // false: there was nobody to harm
}

// allHarm is one round of harm. What this test is for comes first.
func (n *nemesis) allHarm() []harm {
	first := []harm{killShardServer(), pauseShardServer()}
	rest := []harm{killShardServer(), pauseShardServer(), killOneOfTwo(), deafRouter()}
	for _, role := range []string{"router", "bus", "controller", hosts[n.rng.IntN(len(hosts))]} {
		rest = append(rest, killRole(role), pauseRole(role))
	}
	n.rng.Shuffle(len(rest), func(i, k int) { rest[i], rest[k] = rest[k], rest[i] })
	all := append(first, rest...)
	if name := os.Getenv("RINGWAY_HARM"); name != "" {
		all = slices.DeleteFunc(all, func(h harm) bool { return h.name != name })
	}
	return all
}

// run does harm after harm, and leaves nobody paused.
func (n *nemesis) run(during time.Duration) {
	n.e.t.Helper()
	ctx, cancel := context.WithTimeout(n.e.t.Context(), during)
	defer cancel()
	for ctx.Err() == nil {
		all := n.allHarm()
		if len(all) == 0 {
			n.e.t.Fatal("RINGWAY_HARM is no harm that this test does")
		}
		for _, h := range all {
			if ctx.Err() != nil {
				return
			}
			if h.do(ctx, n) {
				n.done[h.name]++
			}
			writers.Wait(ctx, n.between(200*time.Millisecond, time.Second))
		}
	}
}

// killShardServer: the controller repairs that.
func killShardServer() harm {
	return harm{"kill shard server", func(_ context.Context, n *nemesis) bool {
		return n.docker("kill", n.shardServer())
	}}
}

func pauseShardServer() harm {
	return harm{"pause shard server", func(ctx context.Context, n *nemesis) bool {
		return n.pause(ctx, n.shardServer(), n.pauseLength())
	}}
}

// killOneOfTwo kills a shard server while another is paused.
func killOneOfTwo() harm {
	return harm{"pause shard server, kill another", func(ctx context.Context, n *nemesis) bool {
		paused := n.shardServer()
		if !n.docker("pause", paused) {
			return false
		}
		defer n.docker("unpause", paused)
		n.docker("kill", n.shardServer()) // who is paused is not among them
		writers.Wait(ctx, n.between(100*time.Millisecond, 2*time.Second))
		return true
	}}
}

// killRole starts it again: the engine takes `docker kill` for a person's word.
func killRole(role string) harm {
	return harm{"kill " + kind(role), func(ctx context.Context, n *nemesis) bool {
		if !n.docker("kill", n.roles[role]) {
			return false
		}
		defer n.docker("start", n.roles[role])
		writers.Wait(ctx, n.between(0, 2*time.Second))
		return true
	}}
}

func pauseRole(role string) harm {
	return harm{"pause " + kind(role), func(ctx context.Context, n *nemesis) bool {
		return n.pause(ctx, n.roles[role], n.pauseLength())
	}}
}

// deafRouter kills the router while the bus does not answer it: what it has
// told its clients by then is all there is.
func deafRouter() harm {
	return harm{"pause bus, kill router", func(ctx context.Context, n *nemesis) bool {
		if !n.docker("pause", n.roles["bus"]) {
			return false
		}
		writers.Wait(ctx, n.between(100*time.Millisecond, 300*time.Millisecond))
		killed := n.docker("kill", n.roles["router"])
		n.docker("unpause", n.roles["bus"])
		n.docker("start", n.roles["router"])
		return killed
	}}
}

func kind(role string) string {
	if slices.Contains(hosts, role) {
		return "agent"
	}
	return role
}

// shardServer is a random one that runs; empty if none does.
func (n *nemesis) shardServer() string {
	out, err := output(n.e.t.Context(), "docker", "ps", "-q", "--filter", "label=io.ringway.cluster="+n.e.cluster,
		"--filter", "label=io.ringway.volume", "--filter", "status=running")
	ids := strings.Fields(out)
	if err != nil || len(ids) == 0 {
		return ""
	}
	slices.Sort(ids)
	return ids[n.rng.IntN(len(ids))]
}

func (n *nemesis) pause(ctx context.Context, id string, d time.Duration) bool {
	if !n.docker("pause", id) {
		return false
	}
	defer n.docker("unpause", id)
	writers.Wait(ctx, d)
	return true
}

// pauseLength is now and then long enough for the cluster to give somebody up,
// where there is time for it.
func (n *nemesis) pauseLength() time.Duration {
	if full && n.rng.IntN(6) == 0 {
		return n.between(4*time.Second, 12*time.Second)
	}
	return n.between(100*time.Millisecond, 4*time.Second)
}

// docker reports whether the container was there for it. It does not end with
// the harm: nobody shall stay paused.
func (n *nemesis) docker(verb, id string) bool {
	if id == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := output(ctx, "docker", verb, id); err != nil {
		n.e.t.Logf("docker %s: %v", verb, err) // it may have ended a moment ago
		return false
	}
	return true
}

func (n *nemesis) between(least, most time.Duration) time.Duration {
	return least + time.Duration(n.rng.Int64N(int64(most-least)))
}

func (n *nemesis) String() string {
	var done []string
	for _, name := range slices.Sorted(maps.Keys(n.done)) {
		done = append(done, fmt.Sprintf("%d × %s", n.done[name], name))
	}
	return strings.Join(done, ", ")
}
