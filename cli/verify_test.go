package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"ringway/cli/config"
	"ringway/cli/console"
	"ringway/cli/verify"
	"ringway/events"
	"ringway/events/shardlog"
)

// replicas is a database of two shards whose replicas say their digests when a
// log is marked. say may change what one says, or return nil for silence.
type replicas struct {
	mu       sync.Mutex
	route    events.TableRoute
	digest   func(marker int, d shardlog.Digest) *shardlog.Digest
	markErr  error
	marks    map[string]int // by shard
	received map[string]func(string, []byte)
}

func newReplicas(digest func(marker int, d shardlog.Digest) *shardlog.Digest) *replicas {
	r := &replicas{digest: digest, marks: map[string]int{}, received: map[string]func(string, []byte){}, route: events.TableRoute{Table: config.CourseTable(2, 100)}}
	for i, name := range []string{"Server0", "Server1", "Server3"} {
		r.route.Servers = append(r.route.Servers, events.TableServer{Name: name, ID: i + 1, Shards: []string{"sh1", "sh2"}})
	}
	for _, s := range r.route.Table.Shards {
		r.route.Shards = append(r.route.Shards, events.ShardRoute{Shard: s.ID, Log: events.ShardLog{Shard: s.ID, Incarnation: "k-" + s.ID, Made: true},
			Replicas: []events.ShardReplica{{Server: "Server0", Ready: true}, {Server: "Server1", Ready: true}, {Server: "Server3"}}})
	}
	return r
}

func (r *replicas) cluster(t *testing.T) *cluster {
	t.Helper()
	b, err := json.Marshal(r.route)
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{
		routes: []events.Entry{route(t), {Key: events.TableKey("StudT"), Value: b}},
		listen: func(subject string, fn func(string, []byte)) (func(), error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.received[subject] = fn
			return func() {}, nil
		},
		mark: r.mark,
	}
}

func (r *replicas) mark(log events.LogID) (string, uint64, error) {
	if r.markErr != nil {
		return "", 0, r.markErr
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.marks[log.Shard]++
	n := r.marks[log.Shard]
	batch := fmt.Sprintf("B%d", n)
	state := shardlog.StateDigest{Position: events.Position{Incarnation: log.Incarnation, Seq: uint64(40 + n), Batch: batch}, Rows: 7, Data: "d", Results: "r", Idempotency: "i"}
	for _, s := range r.route.Servers {
		d := r.digest(n, shardlog.Digest{Server: s.Name, Table: log.Table, Shard: log.Shard, Batch: batch, State: state})
		if d == nil {
			continue
		}
		body, err := json.Marshal(d)
		if err != nil {
			return "", 0, err
		}
		r.received[events.DigestSubject(log.Table, log.Shard)]("", body)
	}
	return batch, uint64(40 + n), nil
}

func honest(_ int, d shardlog.Digest) *shardlog.Digest { return &d }

func TestVerify_Equal(t *testing.T) {
	r := newReplicas(honest)
	code, out, errs := run(t, r.cluster(t).wiring(), "verify")
	want := "StudT.sh1  equal: 3 replicas, 7 rows at seq 41\nStudT.sh2  equal: 3 replicas, 7 rows at seq 41\n"
	if code != console.ExitOK || out != want || errs != "" {
		t.Errorf("code %d, stdout %q, stderr %q", code, out, errs)
	}
	if r.marks["sh1"] != 1 || r.marks["sh2"] != 1 {
		t.Errorf("markers: %v", r.marks)
	}
	if code, _, errs := run(t, r.cluster(t).wiring(), "verify", "StudT"); code != console.ExitOK {
		t.Errorf("by name: code %d, %s", code, errs)
	}
}

func TestVerify_Different(t *testing.T) {
	digest := func(_ int, d shardlog.Digest) *shardlog.Digest {
		if d.Server == "Server0" && d.Shard == "sh2" {
			d.State.Rows, d.State.Data = 6, "other"
		}
		return &d
	}
	code, out, errs := run(t, newReplicas(digest).cluster(t).wiring(), "verify")
	want := "StudT.sh1  equal: 3 replicas, 7 rows at seq 41\nStudT.sh2  DIFFERENT at seq 41\n             Server0: rows, data, has 6 rows at seq 41; most have 7\n"
	if code != console.ExitFailed || out != want || errs != "" {
		t.Errorf("code %d, stdout %q, stderr %q", code, out, errs)
	}
	code, out, _ = run(t, newReplicas(digest).cluster(t).wiring(), "verify", "-o", "json")
	var got []verify.Verdict
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != console.ExitFailed || len(got) != 2 {
		t.Fatalf("code %d, %v: %s", code, err, out)
	}
	first := got[1].Replicas[0]
	if !got[0].Equal || got[1].Equal || got[1].Rows != 7 || first.Server != "Server0" || !first.Answered || first.Rows != 6 || strings.Join(first.Differs, " ") != "rows data" {
		t.Errorf("%s", out)
	}
}

func TestVerify_NamesEachPartThatDiffers(t *testing.T) {
	for part, change := range map[string]func(*shardlog.StateDigest){
		"position":    func(s *shardlog.StateDigest) { s.Position.Seq++ },
		"rows":        func(s *shardlog.StateDigest) { s.Rows++ },
		"data":        func(s *shardlog.StateDigest) { s.Data += "x" },
		"results":     func(s *shardlog.StateDigest) { s.Results += "x" },
		"idempotency": func(s *shardlog.StateDigest) { s.Idempotency += "x" },
	} {
		digest := func(_ int, d shardlog.Digest) *shardlog.Digest {
			if d.Server == "Server3" {
				change(&d.State)
			}
			return &d
		}
		code, out, _ := run(t, newReplicas(digest).cluster(t).wiring(), "verify")
		if code != console.ExitFailed || !strings.Contains(out, "Server3: "+part+", has") {
			t.Errorf("%s: code %d, %s", part, code, out)
		}
	}
}

// A replica that is not ready is expected all the same.
func TestVerify_NamesWhoIsSilent(t *testing.T) {
	t.Parallel() // it mostly waits
	digest := func(_ int, d shardlog.Digest) *shardlog.Digest {
		switch {
		case d.Server == "Server3":
			return nil
		case d.Server == "Server1" && d.Shard == "sh1":
			d.Error, d.State = "the store was closed", shardlog.StateDigest{}
		}
		return &d
	}
	code, out, _ := run(t, newReplicas(digest).cluster(t).wiring(), "verify", "--timeout", "1s")
	for _, want := range []string{"StudT.sh1  NOT VERIFIED at seq 4", "Server1 could not tell: the store was closed", "Server3 did not answer in time; see 'ringway shards'"} {
		if code != console.ExitFailed || !strings.Contains(out, want) {
			t.Errorf("code %d, want %q in\n%s", code, want, out)
		}
	}
}

func TestVerify_ALostDigestIsAskedForAgain(t *testing.T) {
	t.Parallel() // it mostly waits
	r := newReplicas(func(marker int, d shardlog.Digest) *shardlog.Digest {
		if marker == 1 && d.Server == "Server1" {
			return nil
		}
		return &d
	})
	code, out, _ := run(t, r.cluster(t).wiring(), "verify", "--timeout", "4s")
	if code != console.ExitOK || strings.Count(out, "equal: 3 replicas, 7 rows at seq 42") != 2 {
		t.Errorf("code %d, %s", code, out)
	}
}

// Others may verify too, and a server digests so many at a time.
func TestVerify_AsksAgainWhoHadNoDigest(t *testing.T) {
	t.Parallel() // it mostly waits
	r := newReplicas(func(marker int, d shardlog.Digest) *shardlog.Digest {
		if marker < 3 && d.Server == "Server1" {
			d.Error, d.State = shardlog.DigestBusy, shardlog.StateDigest{}
		}
		return &d
	})
	code, out, _ := run(t, r.cluster(t).wiring(), "verify")
	if code != console.ExitOK || strings.Count(out, "equal: 3 replicas, 7 rows at seq 43") != 2 {
		t.Errorf("code %d, %s", code, out)
	}
}

func TestVerify_ALostDigestIsAskedForAgainAfterABusyOne(t *testing.T) {
	t.Parallel() // it mostly waits
	r := newReplicas(func(marker int, d shardlog.Digest) *shardlog.Digest {
		switch {
		case marker == 1 && d.Server == "Server1":
			d.Error, d.State = shardlog.DigestBusy, shardlog.StateDigest{}
		case marker == 2 && d.Server == "Server1":
			return nil
		}
		return &d
	})
	code, out, _ := run(t, r.cluster(t).wiring(), "verify", "--timeout", "4s")
	if code != console.ExitOK || strings.Count(out, "equal: 3 replicas, 7 rows at seq 43") != 2 {
		t.Errorf("code %d, %s", code, out)
	}
}

// What does not pass by itself is said at once.
func TestVerify_DoesNotAskAgainWhoFailed(t *testing.T) {
	r := newReplicas(func(_ int, d shardlog.Digest) *shardlog.Digest {
		if d.Server == "Server1" {
			d.Error, d.State = "the disk cannot be read", shardlog.StateDigest{}
		}
		return &d
	})
	code, out, _ := run(t, r.cluster(t).wiring(), "verify")
	if code != console.ExitFailed || strings.Count(out, "Server1 could not tell: the disk cannot be read") != 2 || r.marks["sh1"] != 1 {
		t.Errorf("code %d, markers %v, %s", code, r.marks, out)
	}
}

// What is said at another marker, or by a stranger, counts for nothing.
func TestVerify_ComparesAtOneMarker(t *testing.T) {
	digest := func(_ int, d shardlog.Digest) *shardlog.Digest {
		switch d.Server {
		case "Server1":
			d.Batch = "B77"
		case "Server3":
			d.Server = "Stranger"
		}
		return &d
	}
	code, out, _ := run(t, newReplicas(digest).cluster(t).wiring(), "verify", "--timeout", "1s")
	if code != console.ExitFailed || strings.Count(out, "Server1 did not answer") != 2 || strings.Count(out, "Server3 did not answer") != 2 || strings.Contains(out, "Stranger") {
		t.Errorf("code %d, %s", code, out)
	}
}

func TestVerify_ExplainsWhyNobodyCanBeAsked(t *testing.T) {
	r := newReplicas(honest)
	r.markErr = fmt.Errorf("append: %w", events.ErrLogMissing)
	code, out, _ := run(t, r.cluster(t).wiring(), "verify")
	if code != console.ExitFailed || strings.Count(out, "NOT VERIFIED: append: the log does not exist") != 2 {
		t.Errorf("code %d, %s", code, out)
	}
	code, out, errs := run(t, (&cluster{routes: []events.Entry{route(t)}}).wiring(), "verify")
	if code != console.ExitFailed || out != "" || !strings.Contains(errs, "there is no database") {
		t.Errorf("code %d, stdout %q, stderr %q", code, out, errs)
	}
	if _, _, errs = run(t, (&cluster{routes: []events.Entry{route(t)}}).wiring(), "verify", "Other"); !strings.Contains(errs, "there is no database") {
		t.Errorf("stderr %q", errs)
	}
	code, _, errs = run(t, newReplicas(honest).cluster(t).wiring(), "verify", "Other")
	if code != console.ExitFailed || !strings.Contains(errs, `no route for table "Other"`) {
		t.Errorf("code %d, stderr %q", code, errs)
	}
	deaf := newReplicas(honest).cluster(t)
	deaf.listen = func(string, func(string, []byte)) (func(), error) { return nil, errors.New("the bus is away") }
	if code, out, _ = run(t, deaf.wiring(), "verify"); code != console.ExitFailed || !strings.Contains(out, "NOT VERIFIED: the bus is away") {
		t.Errorf("code %d, stdout %q", code, out)
	}
	if code, _, _ = run(t, Wiring{}, "verify", "a b"); code != console.ExitUsage {
		t.Errorf("code %d", code)
	}
}
