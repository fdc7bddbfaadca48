package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ringway/e2e/check"
	"ringway/internal/testkit"
)

// registers are keys that all clients read and write, a new one in place of
// each that was used for long: histories of one key have to stay short.
type registers struct {
	begun time.Time
	keys  []atomic.Int64 // in use now
	used  []atomic.Int64
	next  atomic.Int64
	value atomic.Int64

	mu  sync.Mutex
	ops []check.Op
}

const (
	registersInUse = 6
	registerOps    = 60 // of one key, about
	firstRegister  = dbShardSize / 2
)

func isRegister(key int64) bool { return key%dbShardSize >= firstRegister }

func newRegisters() *registers {
	r := &registers{begun: time.Now(), keys: make([]atomic.Int64, registersInUse), used: make([]atomic.Int64, registersInUse)}
	for i := range r.keys {
		r.keys[i].Store(-1)
	}
	return r
}

// note does one operation and keeps what its client saw.
func (r *registers) note(op check.Op, do func() (value string, outcome check.Outcome)) bool {
	op.Call = time.Since(r.begun)
	value, outcome := do()
	op.Return = time.Since(r.begun)
	op.Outcome = outcome
	if op.Read {
		op.Value = value
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, op)
	return outcome == check.Acknowledged
}

// client reads and writes registers through one router.
func (r *registers) client(name string, c *dbClient, chance func(int) int) func() bool {
	return func() bool {
		slot := chance(len(r.keys))
		if n := r.used[slot].Add(1); n%registerOps == 1 {
			key := r.next.Add(1)
			key = key%dbShards*dbShardSize + firstRegister + key
			value := "v" + strconv.FormatInt(r.value.Add(1), 10)
			good := r.note(check.Op{Client: name, Key: key, Value: value}, func() (string, check.Outcome) {
				return "", c.insert(check.Write{Key: key, Value: value}).outcome()
			})
			r.keys[slot].Store(key)
			return good
		}
		key := r.keys[slot].Load()
		if key < 0 {
			return false
		}
		if chance(2) == 0 {
			return r.note(check.Op{Client: name, Key: key, Read: true}, func() (string, check.Outcome) {
				value, err := c.get(key, linearizable)
				if err != nil {
					return "", check.Unknown
				}
				return value, check.Acknowledged
			})
		}
		value := "v" + strconv.FormatInt(r.value.Add(1), 10)
		return r.note(check.Op{Client: name, Key: key, Value: value}, func() (string, check.Outcome) {
			return "", c.update(key, value).outcome()
		})
	}
}

func (r *registers) check(t *testing.T) []check.Fault {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	reads, writes := 0, 0
	for _, op := range r.ops {
		switch {
		case op.Outcome != check.Acknowledged:
		case op.Read:
			reads++
		default:
			writes++
		}
	}
	t.Logf("%d operations on %d registers, %d reads and %d writes acknowledged", len(r.ops), r.next.Load(), reads, writes)
	if reads < 100 || writes < 100 {
		t.Error("too few were acknowledged: the test tests nothing")
	}
	return check.Linearizable(r.ops, 30*time.Second)
}

// secondRouter keeps another router running on an address of its own, whoever
// kills it.
func (d *faultDB) secondRouter(ctx context.Context) (url string, done <-chan struct{}) {
	d.t.Helper()
	address := testkit.Address(d.t)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			cmd := d.command(d.id, "router", "--id", "router-2", "--listen", address, "--admin", "127.0.0.1:0", "--nats", d.nats)
			cmd.Stderr = d.stderr
			if err := startBound(ctx, cmd); err != nil {
				wait(ctx, 100*time.Millisecond)
			}
		}
	}()
	return "http://" + address, ended
}

// startBound runs a process until it or ctx ends.
func startBound(ctx context.Context, cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })()
	return cmd.Wait()
}

// Reads at the level linearizable are, over two routers, while processes are
// killed and stopped; and so they are over the end of the whole machine.
func TestDB_LinearizableOverTwoRouters(t *testing.T) {
	t.Parallel()
	d := startDatabase(t, dbOptions{hosts: 3})
	regs := newRegisters()
	var first, second atomic.Pointer[string]
	url := func(p *atomic.Pointer[string]) func() string { return func() string { return *p.Load() } }
	n := newNemesis(t, d)
	set := &setWriters{client: newDBClient(url(&first))}
	phase := func(end func()) {
		n.target = d
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		other, done := d.secondRouter(ctx)
		one := d.http
		first.Store(&one)
		second.Store(&other)
		eventually(t, 60*time.Second, func() error {
			if _, err := newDBClient(url(&second)).get(0, linearizable); err != nil {
				return err
			}
			return nil
		})
		w := newWork()
		w.each(2, set.work(w.ctx))
		for r, p := range []*atomic.Pointer[string]{&first, &second} {
			w.each(4, func(i int) func() bool {
				return regs.client(fmt.Sprintf("client %d of router %d", i, r+1), newDBClient(url(p)), n.another().IntN)
			})
		}
		harming, stop := context.WithTimeout(t.Context(), harmDuring()*6/10)
		n.run(harming, d.harms(), 300*time.Millisecond)
		stop()
		cancel() // the second router ends with the others, if with them
		end()
		w.end()
		<-done
	}
	phase(d.killAll)
	d.boot(t)
	phase(func() {})
	t.Logf("harm done: %s", n)
	found := d.settled()
	set.askOpen(t)
	report(t, set.check(t, found, isRegister))
	report(t, regs.check(t))
}

// sessions write versions and read them back at the default level, through one
// router.
type sessions struct {
	*registers
}

func versionOf(value string) (int, bool) {
	_, v, _ := strings.Cut(value, "#")
	n, err := strconv.Atoi(v)
	return n, err == nil
}

// writer owns one key at a time, and leaves it after an unknown outcome.
func (s sessions) writer(name string, c *dbClient) func() bool {
	key, v := int64(-1), 0
	return func() bool {
		if key < 0 {
			fresh := s.next.Add(1)
			fresh = fresh%dbShards*dbShardSize + firstRegister + fresh
			if c.insert(check.Write{Key: fresh, Value: "#0"}).outcome() != check.Acknowledged {
				return false
			}
			key, v = fresh, 0
			s.keys[fresh%registersInUse].Store(key)
		}
		v++
		value, outcome := fmt.Sprintf("#%d", v), check.Unknown
		good := s.note(check.Op{Client: name, Key: key, Value: value}, func() (string, check.Outcome) {
			outcome = c.update(key, value).outcome()
			return "", outcome
		})
		if outcome == check.Unknown {
			key = -1
		}
		return good
	}
}

func (s sessions) reader(name string, c *dbClient, chance func(int) int) func() bool {
	return func() bool {
		key := s.keys[chance(registersInUse)].Load()
		return key >= 0 && s.note(check.Op{Client: name, Key: key, Read: true}, func() (string, check.Outcome) {
			value, err := c.get(key, byDefault)
			if err != nil {
				return "", check.Unknown
			}
			return value, check.Acknowledged
		})
	}
}

// The default level through one router: who reads sees what was acknowledged
// before, and nothing older than what anybody has read before.
func TestDB_ReadsOfOneRouterNeverGoBack(t *testing.T) {
	t.Parallel()
	d := startDatabase(t, dbOptions{})
	s := sessions{newRegisters()}
	n := newNemesis(t, d)
	w := newWork()
	c := newDBClient(func() string { return d.http })
	w.each(3, func(i int) func() bool { return s.writer(fmt.Sprint("writer ", i), c) })
	w.each(5, func(i int) func() bool { return s.reader(fmt.Sprint("reader ", i), c, n.another().IntN) })
	ctx, cancel := context.WithTimeout(t.Context(), harmDuring()*6/10)
	defer cancel()
	n.run(ctx, d.harms(), 300*time.Millisecond)
	w.end()
	t.Logf("harm done: %s; %d operations", n, len(s.ops))
	d.settled()
	report(t, check.Session(s.ops, versionOf))
}
