package e2e

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ringway/e2e/writers"
)

// nemesis does harm to the processes of a cluster, at random but for its seed.
type nemesis struct {
	d    *faultDB
	rng  *rand.Rand
	done map[string]int // what it did
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

func newNemesis(d *faultDB) *nemesis {
	return &nemesis{d: d, rng: seeded(d.t), done: map[string]int{}}
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

// Who can be harmed: words of the command line.
var (
	shardServers = []string{"shard"}
	routers      = []string{"router"}
	controllers  = []string{"controller"}
	buses        = []string{"bus"}
	agents       = []string{"agent"}
	engines      = []string{"mysqld"}
)

// kills and stops are what happens to processes; combined ones are two faults
// that hide each other's traces.
func allHarm(engine string) []harm {
	var all []harm
	who := [][]string{shardServers, shardServers, routers, buses, controllers, agents}
	if engine == "mysql" {
		who = append(who, engines, engines)
	}
	for _, words := range who {
		all = append(all, kill(words), stop(words))
	}
	return append(all, deafRouter(), fullDisk())
}

func kill(words []string) harm {
	return harm{"kill " + words[0], func(_ context.Context, n *nemesis) bool {
		return n.signal(n.one(words), syscall.SIGKILL)
	}}
}

func stop(words []string) harm {
	return harm{"stop " + words[0], func(ctx context.Context, n *nemesis) bool {
		pid := n.one(words)
		if !n.signal(pid, syscall.SIGSTOP) {
			return false
		}
		defer n.signal(pid, syscall.SIGCONT)
		wait(ctx, n.between(50*time.Millisecond, 3*time.Second))
		return true
	}}
}

// deafRouter kills a router while the bus does not answer it: what it has told
// its clients by then is all there is.
func deafRouter() harm {
	return harm{"stop bus, kill router", func(ctx context.Context, n *nemesis) bool {
		bus := n.one(buses)
		if !n.signal(bus, syscall.SIGSTOP) {
			return false
		}
		defer n.signal(bus, syscall.SIGCONT)
		wait(ctx, n.between(100*time.Millisecond, 300*time.Millisecond))
		return n.signal(n.one(routers), syscall.SIGKILL)
	}}
}

// fullDisk lets no file of a shard server grow for a while.
func fullDisk() harm {
	return harm{"full disk", func(ctx context.Context, n *nemesis) bool {
		pid := n.one(shardServers)
		limit := func(bytes uint64) bool {
			return pid != 0 && unix.Prlimit(pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY}, nil) == nil
		}
		if !limit(0) {
			return false
		}
		defer limit(unix.RLIM_INFINITY)
		wait(ctx, n.between(100*time.Millisecond, time.Second))
		return true
	}}
}

// run does harm after harm until ctx ends, and leaves nobody stopped.
func (n *nemesis) run(ctx context.Context, all []harm, pause time.Duration) {
	if len(all) == 0 {
		<-ctx.Done()
	}
	for ctx.Err() == nil {
		h := all[n.rng.IntN(len(all))]
		if h.do(ctx, n) {
			n.done[h.name]++
		}
		wait(ctx, n.between(pause/2, 2*pause))
	}
}

// one is a random process that runs words; 0 if none does.
func (n *nemesis) one(words []string) int {
	var found []int
	for _, p := range processesOf(n.d.id) {
		f := strings.Fields(p)
		if len(f) < 3 {
			continue
		}
		engine := words[0] == engines[0] && (strings.HasSuffix(f[1], "/mysqld") || strings.HasSuffix(f[1], "/mariadbd"))
		if pid, err := strconv.Atoi(f[0]); err == nil && (engine || f[2] == words[0]) {
			found = append(found, pid)
		}
	}
	if len(found) == 0 {
		return 0
	}
	return found[n.rng.IntN(len(found))]
}

// signal reports whether the process was there.
func (n *nemesis) signal(pid int, sig syscall.Signal) bool {
	return pid != 0 && syscall.Kill(pid, sig) == nil
}

func (n *nemesis) between(least, most time.Duration) time.Duration {
	return least + time.Duration(n.rng.Int64N(int64(most-least)))
}

func (n *nemesis) String() string {
	var done []string
	for name, count := range n.done {
		done = append(done, fmt.Sprintf("%d × %s", count, name))
	}
	return strings.Join(done, ", ")
}

func wait(ctx context.Context, d time.Duration) { writers.Wait(ctx, d) }

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
	writers.Each(w.ctx, &w.wg, n, client)
}

func (w *work) end() {
	w.stop()
	w.wg.Wait()
}
