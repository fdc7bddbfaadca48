package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"ringway/cli/client"
	"ringway/cli/console"
	"ringway/events"
	"ringway/events/shardlog"
	"ringway/events/streams"
	"ringway/router/ring"
)

// cluster is a canned one. Request calls answer.
type cluster struct {
	answer     func(verb string, req, reply any) error
	routes     []events.Entry
	events     []events.Event
	follow     func(ctx context.Context)
	mark       func(log events.LogID) (string, uint64, error)
	log        *shardlog.LogState // of every shard; nil: there is none
	batch      map[uint64]string  // of that log
	unreadable error
	listen     func(subject string, fn func(string, []byte)) (func(), error)
	since      time.Time
	streams    []streams.Status
	closed     bool
}

func (c *cluster) Request(_ context.Context, verb string, req, reply any) error {
	return c.answer(verb, req, reply)
}
func (c *cluster) Routes(context.Context) ([]events.Entry, error) { return c.routes, nil }
func (c *cluster) History(ctx context.Context, since time.Time, follow bool, fn func(events.Event) error) error {
	c.since = since
	for _, e := range c.events {
		if err := fn(e); err != nil {
			return err
		}
	}
	if follow {
		c.follow(ctx)
		return ctx.Err()
	}
	return nil
}
func (c *cluster) Mark(_ context.Context, log events.LogID) (string, uint64, error) {
	return c.mark(log)
}
func (c *cluster) Bus() string                                       { return "" }
func (c *cluster) Streams(context.Context) ([]streams.Status, error) { return c.streams, nil }
func (c *cluster) LogState(_ context.Context, log events.LogID) (shardlog.LogState, error) {
	if c.log == nil {
		return shardlog.LogState{}, fmt.Errorf("log %s: %w", log, events.ErrLogMissing)
	}
	return *c.log, nil
}
func (c *cluster) LogBatch(_ context.Context, _ events.LogID, seq uint64) (string, time.Time, error) {
	batch, ok := c.batch[seq]
	if c.unreadable != nil {
		return "", time.Time{}, c.unreadable
	}
	if !ok {
		return "", time.Time{}, events.ErrNotFound
	}
	return batch, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), nil
}
func (c *cluster) Listen(subject string, fn func(string, []byte)) (func(), error) {
	return c.listen(subject, fn)
}
func (c *cluster) Close() { c.closed = true }

func (c *cluster) wiring() Wiring {
	return Wiring{Dial: func(context.Context, string) (client.Cluster, error) { return c, nil }}
}

func statusOf(st events.Status) *cluster {
	return &cluster{answer: func(verb string, _, reply any) error {
		if verb != events.APIStatus {
			return fmt.Errorf("verb %q", verb)
		}
		*reply.(*events.Status) = st
		return nil
	}}
}

// sample is a cluster with something of everything. Only ages are relative.
func sample() events.Status {
	now := time.Now()
	epoch := events.Epoch{Incarnation: "k3v9", Revision: 12}
	return events.Status{
		Controller: "controller-1", Term: events.Token{Incarnation: "w1", Revision: 3}, Since: now.Add(-90*time.Minute - 10*time.Second),
		Services: []events.ServiceStatus{{Name: "web", Algorithm: "balanced", Wanted: 3, Serving: 2, Epoch: epoch}},
		Hosts: []events.HostStatus{
			{Name: "host-1", Incarnation: "a1", State: events.Alive, Silent: events.Duration(120 * time.Millisecond), Instances: 2, Load: events.Load{CPUs: 2, Load1: 0.5, Memory: 8 << 30, Free: 3 << 29}},
			{Name: "host-2", Incarnation: "b1", State: events.Suspect, Silent: events.Duration(1600 * time.Millisecond), Instances: 1, Load: events.Load{CPUs: 16, Load1: 12.25, Memory: 64 << 30, Free: 900 << 20}},
			{Name: "host-3", State: events.Lost, Silent: events.Duration(9 * time.Second)},
		},
		Routers: []events.RouterStatus{
			{ID: "router-1", Address: "127.0.0.1:5000", Epochs: map[string]events.Epoch{"web": epoch}},
			{ID: "router-2", Address: "10.0.0.7:80", Silent: events.Duration(300 * time.Millisecond), Epochs: map[string]events.Epoch{"web": {Incarnation: "k3v9", Revision: 11}}},
		},
		Instances: []events.InstanceReport{
			{Name: "web-4k2p", Service: "web", ID: 1, Host: "host-1", State: events.Ready, Serving: true, Address: "127.0.0.1:20417", PID: 4711, Started: now.Add(-3*time.Hour - time.Minute)},
			{Name: "S5", Service: "web", ID: 2, Host: "host-2", State: events.Dead, Address: "127.0.0.1:20418", PID: 4712, Started: now.Add(-42*time.Second - 500*time.Millisecond), Detail: "signal: \x1b[31mkilled"},
			{Name: "web-9xq1", Service: "web", ID: 3, State: events.Pending},
		},
	}
}

func TestHelp(t *testing.T) {
	root := newApp(Wiring{}, Streams{}).root()
	golden(t, "help/ringway.txt", help(t))
	for _, c := range root.Commands() {
		if c.Name() == "help" || c.Name() == "completion" {
			continue
		}
		golden(t, "help/"+c.Name()+".txt", help(t, c.Name()))
		if c.Example == "" {
			t.Errorf("%s has no example", c.Name())
		}
		for _, sub := range c.Commands() {
			golden(t, "help/"+c.Name()+"-"+sub.Name()+".txt", help(t, c.Name(), sub.Name()))
			if sub.Example == "" {
				t.Errorf("%s %s has no example", c.Name(), sub.Name())
			}
		}
	}
}

func help(t *testing.T, command ...string) string {
	t.Helper()
	code, out, errs := run(t, Wiring{}, append(command, "--help")...)
	if code != console.ExitOK || errs != "" {
		t.Errorf("%v: code %d, stderr %q", command, code, errs)
	}
	for line := range strings.Lines(out) {
		if len(line) > 132 {
			t.Errorf("%v: a line of %d characters: %s", command, len(line), line)
		}
	}
	return out
}

// Every example of the help is a command line that is understood.
func TestHelp_ExamplesAreUnderstood(t *testing.T) {
	root := newApp(Wiring{}, Streams{}).root()
	for _, c := range append(root.Commands(), root) {
		for line := range strings.Lines(c.Example) {
			line, _, _ = strings.Cut(line, "#")
			line, _, _ = strings.Cut(line, "|")
			_, args, ok := strings.Cut(strings.TrimSpace(line), "ringway ")
			if !ok {
				t.Errorf("%s: example %q", c.Name(), line)
			}
			target, rest, err := root.Find(strings.Fields(args))
			if err == nil {
				err = target.ParseFlags(rest)
			}
			if err == nil {
				err = target.ValidateArgs(target.Flags().Args())
			}
			if err != nil || target == root {
				t.Errorf("%q: %v", line, err)
			}
		}
	}
}

func TestListings(t *testing.T) {
	f := func(file string, c *cluster, args ...string) {
		t.Helper()
		code, out, errs := run(t, c.wiring(), args...)
		if code != console.ExitOK || errs != "" || !c.closed {
			t.Errorf("%v: code %d, closed %v, stderr %q", args, code, c.closed, errs)
		}
		golden(t, file, out)
	}
	f("ps.txt", statusOf(sample()), "ps")
	f("ps_none.txt", statusOf(events.Status{}), "ps")
	f("status.txt", statusOf(sample()), "status")
	f("status_database.txt", statusOf(database()), "status")
	several := statusOf(database())
	several.streams = []streams.Status{
		{Name: "KV_RINGWAY_DESIRED", Copies: 3, Leader: "bus-1"},
		{Name: "RINGWAY_LOG_StudT-sh1", Copies: 3, Leader: "bus-2", Behind: []streams.Copy{{Server: "bus-1", Lag: 17}, {Server: "bus-3", Away: true}}},
		{Name: "RINGWAY_LOG_StudT-sh2"},
	}
	f("status_streams.txt", several, "status")
	back := sample()
	back.RolledBack = &events.Rollback{Noticed: time.Now().Add(-3 * time.Minute), Reason: "host host-1 obeys k3v9/62 of host-1 in RINGWAY_ASSIGN, which is at k3v9/4"}
	f("status_rewound.txt", statusOf(back), "status")
	f("status_none.txt", statusOf(events.Status{Controller: "c", Since: time.Now()}), "status")
	f("ring.txt", &cluster{routes: []events.Entry{route(t)}}, "ring")
	f("ring.json", &cluster{routes: []events.Entry{route(t)}}, "ring", "-o", "json")
	f("ring_slots.txt", &cluster{routes: []events.Entry{route(t)}}, "ring", "--slots")
	f("ring_slots.json", &cluster{routes: []events.Entry{route(t)}}, "ring", "--slots", "-o", "json")
}

// route has 8 slots, a member that drains and a slot without owner.
func route(t *testing.T) events.Entry {
	t.Helper()
	r := events.Route{Service: "web", Algorithm: events.Balanced, Members: []events.Member{
		{Name: "web-4k2p", ID: 1, Address: "127.0.0.1:20417", Weight: 1},
		{Name: "S5", ID: 2, Address: "127.0.0.1:20418", Weight: 1},
		{Name: "old", ID: 3, Address: "127.0.0.1:20419", Weight: 1, Draining: true},
	}, Slots: events.Slots{0, 0, 1, 0, events.NoOwner, 1, 1, 1}}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return events.Entry{Key: "service.web", Value: b, Version: events.Version{Incarnation: "k3v9", Revision: 12}}
}

func TestPs_JSONIsAnArrayOfTheReports(t *testing.T) {
	for _, st := range []events.Status{{}, sample()} {
		_, out, _ := run(t, statusOf(st).wiring(), "ps", "-o", "json")
		var got []map[string]any
		if err := json.Unmarshal([]byte(out), &got); err != nil || got == nil || len(got) != len(st.Instances) {
			t.Fatalf("%v: %s", err, out)
		}
		for _, i := range got {
			for _, key := range []string{"name", "service", "host", "state", "address", "pid"} {
				if _, ok := i[key]; !ok {
					t.Errorf("no %s in %v", key, i)
				}
			}
		}
	}
}

func offline(t *testing.T, args ...string) ringView {
	t.Helper()
	code, out, errs := run(t, Wiring{}, append([]string{"ring", "--offline", "-o", "json"}, args...)...)
	var v ringView
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != console.ExitOK {
		t.Fatalf("%v: code %d, %v, %s", args, code, err, errs)
	}
	return v
}

func TestRing_OfflineCourseIsTheOracle(t *testing.T) {
	for n, want := range map[int][]float64{
		2: {95.31, 4.69},
		3: {84.37, 4.69, 10.94},
		4: {82.03, 4.69, 10.16, 3.12},
		5: {79.69, 3.12, 9.38, 3.12, 4.69},
		6: {78.91, 3.12, 9.38, 3.12, 4.69, 0.78},
	} {
		ids := strings.Split("1,2,3,4,5,6", ",")[:n]
		v := offline(t, "--algorithm", "course", "--members", strings.Join(ids, ","))
		for i, m := range v.Members {
			if m.Name != ids[i] || math.Abs(100*m.Share-want[i]) > 0.01 {
				t.Errorf("%d members: %s has %.3f%%, want %.2f%%", n, m.Name, 100*m.Share, want[i])
			}
		}
	}
	v := offline(t, "--algorithm", "course", "--members", "3,1,2", "--slots")
	if v.Slots != 512 || len(v.Owners) != 512 || *v.Owners[81] != "3" || v.Epoch != nil {
		t.Errorf("slot 81 of %d belongs to %s", v.Slots, *v.Owners[81])
	}
}

func TestRing_OfflineBalanced(t *testing.T) {
	v := offline(t, "--members", "a,b,c,d,e")
	total := 0.0
	for _, m := range v.Members {
		total += m.Share
		if m.Slots < 3276 || m.Slots > 3277 {
			t.Errorf("%+v", m)
		}
	}
	if v.Slots != 16384 || v.Algorithm != "balanced" || math.Abs(total-1) > 1e-9 || v.Owners != nil {
		t.Errorf("%+v", v)
	}
	if v := offline(t, "--members", "a,b", "--size", "100", "--slots"); v.Slots != 100 || len(v.Owners) != 100 {
		t.Errorf("%+v", v)
	}
}

// The share of course comes from the functions that the route carries.
func TestRing_CourseRouteWithItsOwnFunctions(t *testing.T) {
	fn := ring.Official()
	table, err := ring.Course(512, 9, []ring.Member{{Name: "a", ID: 1, Weight: 1}, {Name: "b", ID: 2, Weight: 1}}, fn)
	if err != nil {
		t.Fatal(err)
	}
	r := events.Route{Service: "web", Algorithm: events.Course, Slots: table.Slots(), Functions: events.CourseFunctions{H: "26"},
		Members: []events.Member{{Name: "a", ID: 1, Address: "x:1", Weight: 1}, {Name: "b", ID: 2, Address: "x:2", Weight: 1}}}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{routes: []events.Entry{{Key: "service.web", Value: b}}}
	_, out, errs := run(t, c.wiring(), "ring", "-o", "json")
	var v ringView
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatal(err, errs)
	}
	if v.Members[0].Share != 1 || v.Members[1].Share != 0 { // every request goes to slot 26, which is a's
		t.Errorf("%+v", v.Members)
	}
}

func TestEvents(t *testing.T) {
	at := time.Date(2026, 1, 2, 15, 4, 5, 678e6, time.Local)
	died := events.Event{ID: "1", Entity: "instance", Verb: "died", About: "web-4k2p", Source: "controller/c1", Time: at,
		Data: json.RawMessage(`{"host": "host-1", "detail": "signal: killed", "n": 3, "list": [1, 2], "evil": "\u001b[2J"}`)}
	odd := events.Event{ID: "2", Entity: "route", Verb: "changed", About: "\x1b[31mweb\n", Source: "controller/c1", Time: at, Data: json.RawMessage(`[1]`)}
	recovered := events.Event{ID: "3", Entity: "shard", Verb: "recovered", About: "StudT.sh1", Source: "controller/c1", Time: at,
		Data: json.RawMessage(`{"server": "Server0", "log": "k9", "position": {"incarnation": "k1", "seq": 41, "batch": "B-7"}, "shards": ["sh1"], "none": null}`)}
	c := &cluster{events: []events.Event{died, odd, recovered}}
	code, out, errs := run(t, c.wiring(), "events")
	if code != console.ExitOK || errs != "" {
		t.Fatalf("code %d, %s", code, errs)
	}
	golden(t, "events.txt", out)
	if ago := time.Since(c.since); ago < 10*time.Minute || ago > 11*time.Minute {
		t.Errorf("since %s ago", ago)
	}

	_, out, _ = run(t, c.wiring(), "events", "-o", "json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var got events.Event
	if err := json.Unmarshal([]byte(lines[0]), &got); err != nil || len(lines) != 3 || got.About != died.About || !got.Time.Equal(at) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestEvents_SilenceIsReported(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		code, out, errs := run(t, (&cluster{}).wiring(), append([]string{"events", "--since", "3s"}, args...)...)
		if code != console.ExitOK || out != "" || !strings.HasPrefix(errs, want) || want == "" && errs != "" {
			t.Errorf("%v: code %d, stdout %q, stderr %q; want %q", args, code, out, errs, want)
		}
	}
	f("nothing happened since ")
	f("", "-o", "json")
}

func TestEvents_FollowEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := &cluster{follow: func(ctx context.Context) { cancel(); <-ctx.Done() }}
	if code := Main(ctx, c.wiring(), []string{"events", "--follow"}, Streams{Out: new(strings.Builder), Err: new(strings.Builder)}); code != console.ExitOK {
		t.Errorf("code %d", code)
	}
}

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 1, 10, 0, 0, 0, 0, time.UTC)
	local := func(s string) string {
		at, _ := time.ParseInLocation("2006-01-02T15:04:05", s, time.Local)
		return at.Format(time.RFC3339)
	}
	for text, want := range map[string]string{
		"10m": "2026-01-09T23:50:00Z", "3d": "2026-01-07T00:00:00Z", "1.5h": "2026-01-09T22:30:00Z", "0": "2026-01-10T00:00:00Z",
		"2026-01-02T15:04:05Z": "2026-01-02T15:04:05Z", "2026-01-02": local("2026-01-02T00:00:00"), "2026-01-02 15:04:05": local("2026-01-02T15:04:05"),
		"-1m": "", "ten": "", "": "", "d": "", "1e9h": "",
	} {
		got, err := parseSince(text, now)
		if want == "" != (err != nil) || err == nil && got.Format(time.RFC3339) != want {
			t.Errorf("%q: %s, %v; want %q", text, got, err, want)
		}
	}
}

// scaling answers the requests of one command with each of errs, then with reply.
func scaling(reply events.ScaleReply, errs ...error) (*cluster, *[]events.ScaleRequest) {
	var got []events.ScaleRequest
	return &cluster{answer: func(verb string, req, out any) error {
		r := req.(events.ScaleRequest)
		got = append(got, r)
		if len(got) <= len(errs) {
			return errs[len(got)-1]
		}
		*out.(*events.ScaleReply) = reply
		return nil
	}}, &got
}

func TestScale_TheSameRequestUntilItIsAnswered(t *testing.T) {
	reply := events.ScaleReply{Service: "web", Replicas: []string{"S1", "S2", "S5"}, Added: []string{"S5"}}
	c, got := scaling(reply, events.ErrNoLeader, fmt.Errorf("bus: %w", events.ErrUnknownOutcome))
	code, out, errs := run(t, c.wiring(), "add", "S5", "-n", "2")
	if code != console.ExitOK || out != "added     S5\nreplicas  S1 S2 S5\n" || errs != "" {
		t.Errorf("code %d, stdout %q, stderr %q", code, out, errs)
	}
	for _, r := range *got {
		if r.ID == "" || r.ID != (*got)[0].ID || r.N != 2 || !slices.Equal(r.Names, []string{"S5"}) {
			t.Errorf("asked %+v", r)
		}
	}
	if len(*got) != 3 {
		t.Errorf("asked %d times", len(*got))
	}
}

func TestScale_TheNumberDefaultsToTheNames(t *testing.T) {
	f := func(n int, args ...string) {
		t.Helper()
		c, got := scaling(events.ScaleReply{})
		if code, _, errs := run(t, c.wiring(), args...); code != console.ExitOK || (*got)[0].N != n {
			t.Errorf("%v: code %d, %s, asked %+v", args, code, errs, *got)
		}
	}
	f(1, "add")
	f(2, "rm", "S1", "S2")
	f(3, "rm", "S1", "-n", "3")
}

func TestExitCodesAndWhatToDoNext(t *testing.T) {
	leaderless := func() *cluster { return &cluster{answer: func(string, any, any) error { return events.ErrNoLeader }} }
	silent := &cluster{answer: func(string, any, any) error { return events.ErrUnknownOutcome }}
	refusing, _ := scaling(events.ScaleReply{}, events.StatusErrorf(400, "<Error> no replica %q", "S9"))
	nobody := Wiring{Dial: func(context.Context, string) (client.Cluster, error) { return nil, errors.New("connection refused") }}
	f := func(w Wiring, code int, want string, args ...string) {
		t.Helper()
		got, out, errs := run(t, w, args...)
		if got != code || !strings.Contains(errs, want) || out != "" || strings.Contains(errs, "Usage:") {
			t.Errorf("%v: code %d, stdout %q, stderr %q; want %d, %q", args, got, out, errs, code, want)
		}
	}
	f(nobody, console.ExitNobody, "nobody answers at nats://127.0.0.1:4222 (connection refused); start a cluster with 'ringway up', or name the bus of another with --nats", "ps")
	f(nobody, console.ExitNobody, "nats://h:1", "ring", "--nats", "nats://h:1")
	f(leaderless().wiring(), console.ExitNobody, "no controller answered", "ps", "--timeout", "10ms")
	f(leaderless().wiring(), console.ExitNobody, "no controller answered", "add", "--timeout", "10ms")
	f(silent.wiring(), console.ExitUnknown, "it may or may not have happened", "add", "--timeout", "10ms")
	f(refusing.wiring(), console.ExitRefused, `<Error> no replica "S9"`, "rm", "S9")
	f((&cluster{}).wiring(), console.ExitFailed, "no route yet", "ring")
	f((&cluster{routes: []events.Entry{route(t)}}).wiring(), console.ExitFailed, `no route for service "x"`, "ring", "--service", "x")
	f((&cluster{routes: []events.Entry{{Key: "service.web", Value: []byte("{")}}}).wiring(), console.ExitFailed, "decode route", "ring")

	f(Wiring{}, console.ExitUsage, `unknown command "pss"`, "pss")
	f(Wiring{}, console.ExitUsage, "See 'ringway ps --help'.", "ps", "--jsno")
	f(Wiring{}, console.ExitUsage, "use table or json", "ps", "-o", "xml")
	f(Wiring{}, console.ExitUsage, `"extra" is too much; 'ringway ps' takes only flags`, "ps", "extra")
	f(Wiring{}, console.ExitUsage, "like 127.0.0.1:4222", "up", "--nats", "foo")
	f(Wiring{}, console.ExitUsage, "--nats", "ps", "--nats", "http://x")
	f(Wiring{}, console.ExitUsage, "--timeout", "ps", "--timeout", "0s")
	f(Wiring{}, console.ExitUsage, "2 names for -n 1", "add", "S1", "S2", "-n", "1")
	f(Wiring{}, console.ExitUsage, "given twice", "add", "S1", "S1")
	f(Wiring{}, console.ExitUsage, "beginning with a letter", "rm", "../x")
	f(Wiring{}, console.ExitUsage, "-n 0", "rm", "-n", "0")
	f(Wiring{}, console.ExitUsage, "say how many with -n", "rm")
	f(Wiring{}, console.ExitUsage, `--replicas "x": want a whole number`, "up", "--replicas", "x")
	f(Wiring{}, console.ExitUsage, `--timeout "5": want a duration with a unit, like 30s or 500ms`, "ps", "--timeout", "5")
	f(Wiring{}, console.ExitUsage, `--size 0`, "ring", "--offline", "--members", "1", "--size", "0")
	f(Wiring{}, console.ExitUsage, "add --algorithm course", "ring", "--offline", "--members", "1", "--functions", "linear")
	f(Wiring{}, console.ExitUsage, "--members", "ring", "--offline")
	f(Wiring{}, console.ExitUsage, "add --offline", "ring", "--members", "1")
	f(Wiring{}, console.ExitUsage, `"x" is no id`, "ring", "--offline", "--algorithm", "course", "--members", "x")
	f(Wiring{}, console.ExitUsage, "official, ", "ring", "--offline", "--algorithm", "course", "--members", "1", "--functions", "x")
	f(Wiring{}, console.ExitUsage, "balanced or course", "ring", "--offline", "--algorithm", "x", "--members", "1")
	f(Wiring{}, console.ExitUsage, "--since", "events", "--since", "ago")
	f(Wiring{}, console.ExitUsage, "no id", "server", "--listen", "127.0.0.1:0")
	f(stand(), 2, "", "hold", "--", "a", "b")
}

func TestVersion_IsAFlagToo(t *testing.T) {
	_, want, _ := run(t, Wiring{Version: "1.2"}, "version")
	if code, out, errs := run(t, Wiring{Version: "1.2"}, "--version"); code != console.ExitOK || out != want || errs != "" {
		t.Errorf("code %d, stdout %q, stderr %q; want %q", code, out, errs, want)
	}
}
