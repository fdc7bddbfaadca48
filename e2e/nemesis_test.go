package e2e

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// nemesis does harm to the parts of a cluster, at random but for its seed.
type nemesis struct {
	target
	rng  *rand.Rand
	done map[string]int // what it did
}

// target is a cluster that can be harmed. Its parts are named by the test, as
// pids or as containers.
type target interface {
	// find lists the running parts of a kind: a role, or databaseServers.
	find(kind string) []string
	// kill ends a part as a crash does, and reports whether it was there. What
	// the cluster does not start again by itself is started before it returns.
	kill(ctx context.Context, part string) bool
	// pause freezes a part; resume is nil if it was not there.
	pause(part string) (resume func())
	// maxPause bounds how long a part is paused.
	maxPause() time.Duration
}

// seeded is a source of chance that RINGWAY_SEED repeats.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("RINGWAY_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("RINGWAY_SEED=%d", seed)
	name := fnv.New64()
	_, _ = name.Write([]byte(t.Name())) // cannot fail
	return rand.New(rand.NewPCG(seed, name.Sum64()))
}

func newNemesis(t *testing.T, on target) *nemesis {
	t.Helper()
	return &nemesis{target: on, rng: seeded(t), done: map[string]int{}}
}

// another is a source of chance for one client, of the same seed; before run.
func (n *nemesis) another() *rand.Rand {
	return rand.New(rand.NewPCG(n.rng.Uint64(), n.rng.Uint64()))
}

// harm is one kind of fault. It returns when the fault is over.
type harm struct {
	name string
	do   func(ctx context.Context, n *nemesis) bool // false: there was nobody to harm
}

// Kinds of parts beside the roles of the program.
const databaseServers = "mysqld"

// allHarm lists what can be done to every cluster. What the tests are for comes
// first; combined faults hide each other's traces.
func allHarm() []harm {
	all := []harm{kill("shard"), stop("shard"), stopAndKill("shard", "shard", 2*time.Second)}
	for _, kind := range []string{"router", "bus", "controller", "agent"} {
		all = append(all, kill(kind), stop(kind))
	}
	return append(all, kill("shard"), stop("shard"), routerWithoutBus())
}

func kill(kind string) harm {
	return harm{"kill " + kind, func(ctx context.Context, n *nemesis) bool {
		part := n.one(kind)
		return part != "" && n.target.kill(ctx, part)
	}}
}

func stop(kind string) harm {
	return harm{"stop " + kind, func(ctx context.Context, n *nemesis) bool {
		return n.stopped(n.one(kind), func() { wait(ctx, n.between(50*time.Millisecond, n.maxPause())) })
	}}
}

// routerWithoutBus kills a router while the bus does not answer it: it has answered
// its clients by what it knew then.
func routerWithoutBus() harm { return stopAndKill("bus", "router", 300*time.Millisecond) }

// stopAndKill kills a part while another one is stopped.
func stopAndKill(stopped, killed string, within time.Duration) harm {
	return harm{"stop " + stopped + ", kill " + killed, func(ctx context.Context, n *nemesis) bool {
		part, hit := n.one(stopped), false
		return n.stopped(part, func() {
			wait(ctx, n.between(100*time.Millisecond, within))
			if other := n.one(killed, part); other != "" {
				hit = n.target.kill(ctx, other)
			}
		}) && hit
	}}
}

// stopped does something while a part is paused, and reports whether it was.
func (n *nemesis) stopped(part string, do func()) bool {
	if part == "" {
		return false
	}
	resume := n.pause(part)
	if resume == nil {
		return false
	}
	defer resume()
	do()
	return true
}

// run does harm after harm until ctx ends, and leaves nobody stopped. Each
// round does every harm once, the first two first.
func (n *nemesis) run(ctx context.Context, all []harm, pause time.Duration) {
	if len(all) == 0 {
		<-ctx.Done()
	}
	for ctx.Err() == nil {
		rest := all[min(2, len(all)):]
		n.rng.Shuffle(len(rest), func(i, k int) { rest[i], rest[k] = rest[k], rest[i] })
		for _, h := range all {
			if ctx.Err() != nil {
				return
			}
			if h.do(ctx, n) {
				n.done[h.name]++
			}
			wait(ctx, n.between(pause/2, 2*pause))
		}
	}
}

// one is a random running part of a kind, except some; empty if there is none.
func (n *nemesis) one(kind string, except ...string) string {
	found := slices.DeleteFunc(n.find(kind), func(part string) bool { return slices.Contains(except, part) })
	if len(found) == 0 {
		return ""
	}
	slices.Sort(found)
	return found[n.rng.IntN(len(found))]
}

func (n *nemesis) between(low, high time.Duration) time.Duration {
	return low + time.Duration(n.rng.Int64N(int64(high-low)))
}

func (n *nemesis) String() string {
	var done []string
	for _, name := range slices.Sorted(maps.Keys(n.done)) {
		done = append(done, fmt.Sprintf("%d × %s", n.done[name], name))
	}
	return strings.Join(done, ", ")
}

// wait returns after d, or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// work runs clients until it is ended.
type work struct {
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup
}

func newWork() *work {
	w := &work{}
	w.ctx, w.stop = context.WithTimeout(context.Background(), time.Hour)
	return w
}

// each runs n clients, each of which does one thing after another. What fails
// is not tried again at once.
func (w *work) each(n int, client func(i int) (once func() (good bool))) {
	for i := range n {
		once := client(i)
		w.wg.Go(func() {
			for w.ctx.Err() == nil {
				if !once() {
					wait(w.ctx, 20*time.Millisecond)
				}
			}
		})
	}
}

func (w *work) end() {
	w.stop()
	w.wg.Wait()
}
