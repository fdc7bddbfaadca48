package up

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"ringway/cli/client"
	"ringway/cli/console"
	"ringway/cli/listen"
	"ringway/cli/up/supervise"
	"ringway/events"
)

// maxDeaths of one child before everything is ready mean that it cannot start.
const maxDeaths = 5

// startError names what hangs, and where to read more.
type startError struct {
	what  string
	child *supervise.Child // may be nil
}

func (e *startError) Error() string {
	text := "start failed: " + e.what
	if e.child == nil {
		return text
	}
	if lines := supervise.LastLines(e.child.Log(), 3); len(lines) > 0 {
		text += "\n  " + strings.Join(lines, "\n  ")
	}
	return text + "\nIts log is " + e.child.Log()
}

// start brings the stages up, the bus first, and returns when everything serves.
func (u *up) start(ctx context.Context) error {
	w := &waiter{up: u, began: time.Now(), reported: map[string]bool{}}
	defer w.close()
	u.launch(u.stages[0])
	if err := u.await(ctx, w, w.bus); err != nil {
		return err
	}
	for _, s := range u.stages[1:] {
		u.launch(s)
	}
	err := u.await(ctx, w, w.rest)
	u.incomplete, u.shards = w.shards.problems, w.shards.all
	if err == nil {
		u.reportIgnored(w.st)
	}
	return err
}

func (u *up) launch(s *stage) {
	// Not of the caller's context: the stages are stopped one by one.
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	for _, c := range s.children {
		s.done.Go(func() { c.Run(ctx) })
	}
}

// await polls until look finds nothing missing.
func (u *up) await(ctx context.Context, w *waiter, observe func(context.Context) bool) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		// It moves out when the leader reports a database.
		deadline := w.began.Add(w.timeout())
		looking, done := context.WithDeadline(ctx, deadline)
		there := observe(looking)
		done()
		u.Console.Progress(w.line())
		switch {
		case there:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(w.began.Add(w.timeout())):
			if w.waive() {
				return nil
			}
			w.findReason(ctx)
			return w.timeoutError()
		}
		select {
		case err := <-u.fatal:
			return err
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// waiter looks at a cluster that starts.
type waiter struct {
	*up
	began   time.Time
	cluster client.Cluster

	st            events.Status // as of the last look
	leads         bool
	hosts         int
	services      int // there are
	ready, wanted int // replicas of them
	shards        shardCount
	serves        bool
	trouble       string          // what the last replica that does not serve lacks
	reported      map[string]bool // deaths that were reported
}

func (w *waiter) close() {
	if w.cluster != nil {
		w.cluster.Close()
	}
}

// bus reports whether the bus answers. Another one may have taken the address
// since it was free: nothing of ours shall run on that.
func (w *waiter) bus(ctx context.Context) bool {
	dialing, done := context.WithTimeout(ctx, client.DialTimeout)
	defer done()
	c, err := w.Dial(dialing, "nats://"+listen.Reachable(w.o.nats))
	if err != nil {
		return false
	}
	if name := c.Bus(); name != w.up.bus {
		c.Close()
		w.fail(&startError{what: fmt.Sprintf("another bus, %q, answers at %s; choose another address with --nats HOST:PORT (port 0 picks a free one)", console.Printable(name), w.o.nats)})
		return false
	}
	w.cluster = c
	return true
}

// rest reports whether everybody else does.
func (w *waiter) rest(ctx context.Context) bool {
	requestCtx, done := context.WithTimeout(ctx, 2*time.Second)
	defer done()
	var st events.Status
	if err := w.cluster.Request(requestCtx, events.APIStatus, struct{}{}, &st); err != nil {
		if ctx.Err() == nil { // else it is we who gave up
			w.leads = false
		}
		return false
	}
	w.observe(st)
	check := "/readyz"
	if w.wanted == 0 { // then no router is ready, for want of members
		check = "/livez"
	}
	w.serves = w.routed(st) && w.answers(ctx, w.admin, check)
	if w.shards.complete() && w.shards.all > 0 {
		w.serves = w.serves && w.answers(ctx, w.public[0], "/status")
	}
	return w.hosts == w.o.hosts && w.allReady() && w.shards.complete() && w.serves
}

func (w *waiter) observe(st events.Status) {
	w.st, w.leads, w.hosts, w.services, w.ready, w.wanted = st, true, 0, len(st.Services), 0, 0
	for _, h := range st.Hosts {
		for i := range w.o.hosts {
			if h.Name == fmt.Sprintf("host-%d", i+1) && h.State == events.Alive {
				w.hosts++
			}
		}
	}
	for _, s := range st.Services {
		w.wanted += s.Wanted
	}
	w.observeTables(st, time.Now())
	for _, i := range st.Instances {
		shard := slices.ContainsFunc(st.Tables, func(t events.TableStatus) bool { return t.Name == i.Service })
		switch {
		case shard && i.State == events.Ready: // its replicas are counted
		case !shard && i.Serving && i.State == events.Ready: // and not merely routed to since an earlier run
			w.ready++
		case i.Detail != "":
			w.trouble = fmt.Sprintf("%s is %s: %s", console.Printable(i.Name), i.State, console.Printable(i.Detail))
			if i.State == events.Dead && !w.reported[i.Detail] {
				w.reported[i.Detail] = true
				w.Console.Printf("ringway: replica %s; trying again", w.trouble)
			}
		}
	}
}

// allReady reports whether every replica that is wanted serves; none may be.
func (w *waiter) allReady() bool { return w.services > 0 && w.ready >= w.wanted }

// routed reports whether a router serves what the leader decided last.
func (w *waiter) routed(st events.Status) bool {
	return slices.ContainsFunc(st.Routers, func(r events.RouterStatus) bool {
		for _, s := range st.Services {
			if r.Epochs[s.Name] != s.Epoch {
				return false
			}
		}
		return len(st.Services) > 0
	})
}

// answers reports whether the router does, with 200.
func (w *waiter) answers(ctx context.Context, address, path string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://ringway"+path, nil)
	if err != nil {
		return false
	}
	checker := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: listen.Dialer(address)}}
	resp, err := checker.Do(req)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // only the code counts
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// line is the progress, for people.
func (w *waiter) line() string {
	tick := func(ok bool) string {
		if ok {
			return "up"
		}
		return "…"
	}
	replicas := "…"
	if w.services > 0 {
		replicas = fmt.Sprintf("%d/%d", w.ready, w.wanted)
	}
	return fmt.Sprintf("starting  bus %s  controller %s  agents %d/%d  replicas %s%s  router %s",
		tick(w.cluster != nil), tick(w.leads), w.hosts, w.o.hosts, replicas, w.shards.line(), tick(w.serves))
}

// timeoutError names what is missing.
func (w *waiter) timeoutError() error {
	waited := w.timeout()
	last := func(stage string) *supervise.Child {
		for _, s := range w.stages {
			if s.name == stage {
				return s.children[0]
			}
		}
		return nil
	}
	switch {
	case w.cluster == nil:
		return &startError{fmt.Sprintf("the bus did not answer at %s within %s", w.o.nats, waited), last("bus")}
	case !w.leads:
		return &startError{fmt.Sprintf("no controller answered within %s", waited), last("controller")}
	case w.hosts < w.o.hosts:
		return &startError{fmt.Sprintf("%d of %d agents were heard within %s", w.hosts, w.o.hosts, waited), last("agents")}
	case !w.allReady():
		what := fmt.Sprintf("%d of %d replicas served within %s", w.ready, w.wanted, waited)
		if w.trouble != "" {
			what += "\n  " + w.trouble
		}
		return &startError{what + "\nThe logs of replicas are in " + w.data.Path("hosts", "HOST", "logs"), nil}
	case !w.shards.complete():
		what := fmt.Sprintf("%d of %d shards had all their replicas within %s", w.shards.ready, w.shards.all, waited)
		if w.shards.trouble != "" {
			what += "\n  " + w.shards.trouble
		} else if w.trouble != "" {
			what += "\n  " + w.trouble
		}
		return &startError{what + "\nThe logs of shard servers are in " + w.data.Path("hosts", "HOST", "logs"), nil}
	}
	return &startError{fmt.Sprintf("the router was not ready within %s", waited), last("router")}
}

// report prints what happened to a child, from its goroutine.
func (u *up) report(r supervise.Report) {
	switch r.What {
	case supervise.Died, supervise.Failed:
	case supervise.Killed:
		u.Console.Printf("ringway: %s (process %d) was killed", r.Name, r.PID)
		return
	default:
		return
	}
	when := "starting it again"
	if r.Next > 0 {
		when = fmt.Sprintf("starting it again in %s (%d starts so far)", r.Next, r.Runs)
	}
	how := fmt.Sprintf("(process %d) ended: %s", r.PID, supervise.DescribeExit(r.Err))
	if r.What == supervise.Failed {
		how = "did not start: " + supervise.DescribeExit(r.Err)
	}
	u.Console.Printf("ringway: %s %s; %s", r.Name, how, when)
	u.checkDeaths(r, how)
}

// checkDeaths gives up a start in which a child cannot succeed.
func (u *up) checkDeaths(r supervise.Report, how string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.deaths[r.Name]++
	if u.started || u.deaths[r.Name] < maxDeaths && supervise.ExitCode(r.Err) != console.ExitUsage {
		return
	}
	for _, s := range u.stages {
		for _, c := range s.children {
			if c.Name() == r.Name {
				u.fail(&startError{r.Name + " " + how, c})
			}
		}
	}
}

// fail ends the start.
func (u *up) fail(err *startError) {
	select {
	case u.fatal <- err:
	default: // one is enough
	}
}
