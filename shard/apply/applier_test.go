package apply_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ringway/events"
	"ringway/events/bus"
	"ringway/events/bus/logs"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
	"ringway/shard/apply"
	"ringway/shard/sqlite"
	"ringway/shard/storage"
)

func TestMain(m *testing.M) {
	// The database/sql of an engine that was closed lets its opener go a moment later.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

var spec = events.ShardSpec{
	Table:  "StudT",
	Schema: events.Schema{Columns: []string{"Stud_id", "Stud_name"}, DTypes: []string{events.DTypeNumber, events.DTypeString}},
	Shard:  events.Shard{ID: "sh1", Low: 0, Size: 1 << 20},
}

// site is a bus with one log, and a replica of it.
type site struct {
	t     *testing.T
	bus   *testkit.Bus
	conn  *bus.Conn
	log   *logs.Log
	store storage.Store
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, bus: testkit.StartBus(t)}
	s.conn = testkit.Connect(t, s.bus.URL())
	id := events.LogID{Table: spec.Table, Shard: spec.Shard.ID, Incarnation: "life1"}
	if _, err := s.conn.CreateLog(t.Context(), id, 0); err != nil {
		t.Fatal(err)
	}
	s.log = s.conn.Log(id)
	engine, err := sqlite.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	if s.store, err = engine.Create(t.Context(), spec, id.Incarnation); err != nil {
		t.Fatal(err)
	}
	return s
}

// append puts the insertion of one row into the log.
func (s *site) append(key int64) {
	s.t.Helper()
	body, err := json.Marshal(shardlog.Batch{ID: fmt.Sprintf("b%d", key), Writer: "w1", Table: spec.Table, Shard: spec.Shard.ID,
		Ops: []shardlog.Op{{Kind: shardlog.OpInsert, Rows: []rowjson.Row{{rowjson.Int(key), rowjson.Text("name")}}}}})
	if err != nil {
		s.t.Fatal(err)
	}
	for {
		ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
		_, err := s.log.Append(ctx, fmt.Sprintf("b%d", key), body)
		cancel()
		if err == nil {
			return
		}
		if s.t.Context().Err() != nil {
			s.t.Fatal(err)
		}
	}
}

// run runs an applier until stop, which returns how it ended.
func run(t *testing.T, cfg apply.Config, store storage.Store, s *site) (a *apply.Applier, stop func() error) {
	t.Helper()
	a = apply.New(cfg, store, s.log, s.conn, testkit.Quiet)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { _ = stop() })
	return a, stop
}

func (s *site) wait(a *apply.Applier, seq uint64) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), testkit.Patience)
	defer cancel()
	if err := a.Wait(ctx, seq); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) rows() (keys []int64) {
	s.t.Helper()
	if _, err := s.store.Range(s.t.Context(), 0, 1<<20, func(r rowjson.Row, _ uint64) error { keys = append(keys, r.Key()); return nil }); err != nil {
		s.t.Fatal(err)
	}
	return keys
}

func (s *site) wantRows(n int) {
	s.t.Helper()
	keys := s.rows()
	if len(keys) != n {
		s.t.Fatalf("%d rows, want %d", len(keys), n)
	}
	for i, k := range keys {
		if k != int64(i) {
			s.t.Fatalf("row %d has key %d", i, k)
		}
	}
}

func TestApplier_AppliesTheLogInOrderAndTellsTheWriter(t *testing.T) {
	s := newSite(t)
	answers := make(chan shardlog.Results, 1000)
	stop, err := s.conn.Listen(events.AllResults("w1"), func(_ string, data []byte) {
		if r, err := shardlog.DecodeResults(data); err == nil {
			answers <- r
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	a, _ := run(t, apply.DefaultConfig(), s.store, s)
	for k := range int64(100) {
		s.append(k)
	}
	s.wait(a, 100)
	s.wantRows(100)
	for i := range 100 {
		select {
		case r := <-answers:
			if r.Batch != fmt.Sprintf("b%d", i) || r.Seq != uint64(i+1) || r.Op(0).Outcome != shardlog.Done {
				t.Fatalf("result %d is %+v", i, r)
			}
		case <-time.After(testkit.Patience):
			t.Fatalf("the writer was sent %d of 100 results", i)
		}
	}
}

func TestApplier_GoesOnAfterTheStoresPosition(t *testing.T) {
	s := newSite(t)
	a, stop := run(t, apply.DefaultConfig(), s.store, s)
	for k := range int64(20) {
		s.append(k)
	}
	s.wait(a, 20)
	if err := stop(); err != nil {
		t.Fatalf("it ended with %v", err)
	}
	for k := range int64(20) {
		s.append(20 + k)
	}
	s.wantRows(20)
	a, _ = run(t, apply.DefaultConfig(), s.store, s)
	s.wait(a, 40)
	s.wantRows(40)
}

func TestApplier_LivesThroughRestartsOfTheBus(t *testing.T) {
	s := newSite(t)
	cfg := apply.DefaultConfig()
	cfg.Responder = false
	a, _ := run(t, cfg, s.store, s)
	for k := range int64(90) {
		if k%30 == 15 {
			s.bus.Restart()
		}
		s.append(k)
	}
	s.wait(a, 90)
	s.wantRows(90)
}

// shaky fails before or after it has applied, at random.
type shaky struct {
	storage.Store
	rng *rand.Rand
}

var errShaky = fmt.Errorf("as the test wants it: %w", storage.ErrRetry)

func (s *shaky) Apply(ctx context.Context, from events.Position, entries []shardlog.Entry) ([]shardlog.Results, error) {
	at := s.rng.IntN(4)
	if at == 0 {
		return nil, errShaky
	}
	done, err := s.Store.Apply(ctx, from, entries)
	if at == 1 && err == nil {
		return nil, errShaky // the commit is there, its answer is lost
	}
	return done, err
}

func TestApplier_AppliesEachBatchOnceWhateverFails(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	s := newSite(t)
	cfg := apply.DefaultConfig()
	cfg.MaxEntries, cfg.RetryMin, cfg.RetryMax = 4, time.Millisecond, 10*time.Millisecond
	for k := range int64(200) {
		s.append(k)
	}
	a, _ := run(t, cfg, &shaky{s.store, rand.New(rand.NewPCG(seed, 1))}, s)
	s.wait(a, 200)
	s.wantRows(200)
	for k := range int64(200) {
		r, err := s.store.Results(t.Context(), fmt.Sprintf("b%d", k))
		if err != nil || r.Op(0).Outcome != shardlog.Done {
			t.Fatalf("batch b%d: %+v %v", k, r, err)
		}
	}
}

func TestApplier_HaltsAtWhatItCannotApplyAndNeverSkips(t *testing.T) {
	s := newSite(t)
	s.append(0)
	if _, err := s.log.Append(t.Context(), "rubbish", []byte("no batch")); err != nil {
		t.Fatal(err)
	}
	s.append(1)
	a := apply.New(apply.DefaultConfig(), s.store, s.log, s.conn, testkit.Quiet)
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	err := a.Run(ctx)
	if err == nil || !strings.Contains(err.Error(), "seq 2") {
		t.Fatalf("it ended with %v, want an error about seq 2", err)
	}
	s.wantRows(1)
}

func TestApplier_HaltsAtAnotherHistory(t *testing.T) {
	s := newSite(t)
	a, stop := run(t, apply.DefaultConfig(), s.store, s)
	for k := range int64(3) {
		s.append(k)
	}
	s.wait(a, 3)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	// The log is lost and made anew under another id.
	id := events.LogID{Table: spec.Table, Shard: spec.Shard.ID, Incarnation: "life1"}
	if err := s.conn.DeleteLog(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	id.Incarnation = "life2"
	if _, err := s.conn.CreateLog(t.Context(), id, 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	err := apply.New(apply.DefaultConfig(), s.store, s.conn.Log(id), s.conn, testkit.Quiet).Run(ctx)
	if !errors.Is(err, events.ErrLogForeign) {
		t.Fatalf("it ended with %v, want %v", err, events.ErrLogForeign)
	}
	s.wantRows(3)
}

// Two appliers of one replica: the store lets one of them through at a time,
// and every batch is applied once.
func TestApplier_TwoOfThemDoNoHarm(t *testing.T) {
	s := newSite(t)
	a, _ := run(t, apply.DefaultConfig(), s.store, s)
	cfg := apply.DefaultConfig()
	cfg.MaxFenced = 1 << 30
	b, _ := run(t, cfg, s.store, s)
	for k := range int64(100) {
		s.append(k)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	first := make(chan error, 2)
	for _, x := range []*apply.Applier{a, b} {
		go func() { first <- x.Wait(ctx, 100) }()
	}
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-first; err != nil {
		t.Logf("the other one did not get there: %v", err)
	}
	s.wantRows(100)
}
