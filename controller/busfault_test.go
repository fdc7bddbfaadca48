package controller_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ringway/controller"
	"ringway/events"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
)

// withTable is a site with a table of two shards on three servers.
func withTable(t *testing.T, change ...func(*controller.Config)) (s *site, stop func()) {
	t.Helper()
	s = newSite(t)
	conn := s.connect()
	stop = s.leadWith(conn, conn, "c1", 1, change...)
	s.host("h1")
	s.host("h2")
	s.router("r1")
	s.shardServers()
	if reply, err := call[events.ServersReply](s, events.APIInit, events.InitRequest{ID: "i1", N: 3, Table: studT("sh1", "sh2")}); err != nil {
		t.Fatalf("init: %+v, %v", reply, err)
	}
	return s, stop
}

func (s *site) logOf(shard string) (events.LogID, events.ShardLog) {
	s.t.Helper()
	db := s.database()
	l, ok := db.Log(shard)
	if !ok {
		s.t.Fatalf("%s has no log", shard)
	}
	return events.LogID{Table: "StudT", Shard: shard, Incarnation: l.Incarnation}, l
}

func (s *site) append(id events.LogID, from, to int) {
	s.t.Helper()
	for i := from; i <= to; i++ {
		if _, err := s.conn.Append(s.t.Context(), id, fmt.Sprintf("b%d", i), []byte("{}")); err != nil {
			s.t.Fatal(err)
		}
	}
}

// ready waits until so many replicas of a shard are ready, as far as the log
// that the route names.
func (s *site) ready(shard string, want int) (sh events.ShardRoute) {
	s.t.Helper()
	testkit.Within(s.t, 60*time.Second, func() error {
		var route events.TableRoute
		read(s, events.BucketRoutes, &route)
		sh, _ = route.Shard(shard)
		n := 0
		for _, r := range sh.Replicas {
			if r.Ready {
				n++
			}
		}
		if n != want {
			return fmt.Errorf("%d replicas of %s are ready, want %d", n, shard, want)
		}
		return nil
	})
	return sh
}

func (s *site) applied(shard string, seq uint64) {
	s.t.Helper()
	testkit.Within(s.t, 60*time.Second, func() error {
		st, err := s.status()
		if err != nil {
			return err
		}
		for _, sh := range st.Tables[0].Shards {
			for _, r := range sh.Replicas {
				if sh.Shard == shard && (r.AppliedSeq != seq || sh.LastSeq != seq) {
					return fmt.Errorf("%s is at %d on %s, of %d", shard, r.AppliedSeq, r.Server, sh.LastSeq)
				}
			}
		}
		return nil
	})
}

func TestController_RecoversAShardWhoseLogIsLost(t *testing.T) {
	s, _ := withTable(t)
	id, before := s.logOf("sh1")
	s.append(id, 1, 5)
	s.applied("sh1", 5)
	var statusErr *events.StatusError
	if _, err := call[events.RecoverReply](s, events.APIRecover, events.RecoverRequest{ID: "r0", Shard: "sh1"}); !errors.As(err, &statusErr) || statusErr.Code != 409 {
		t.Fatalf("recover of a shard that is served: %v, want 409", err)
	}
	if err := s.conn.DeleteLog(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	s.ready("sh1", 0)
	s.ready("sh2", 3)
	reply, err := call[events.RecoverReply](s, events.APIRecover, events.RecoverRequest{ID: "r1", Shard: "sh1"})
	if err != nil || reply.Log.Incarnation == before.Incarnation || reply.Log.Origin == nil || reply.Log.Origin.Seq != 5 || reply.Server == "" {
		t.Fatalf("recover: %+v, %v", reply, err)
	}
	s.ready("sh1", 3)
	next, _ := s.logOf("sh1")
	if st, err := s.conn.Log(next).State(t.Context()); err != nil || st.First != 6 {
		t.Fatalf("the new log is %+v, %v, want it to begin at 6", st, err)
	}
	s.append(next, 6, 7)
	s.applied("sh1", 7)
	again, err := call[events.RecoverReply](s, events.APIRecover, events.RecoverRequest{ID: "r1", Shard: "sh1"})
	if err != nil || again.Log.Incarnation != reply.Log.Incarnation {
		t.Fatalf("the same request again: %+v, %v", again, err)
	}
}

// A stream of somebody else in the log's place goes as well: a person ordered it.
func TestController_RecoversOverAForeignLog(t *testing.T) {
	s, _ := withTable(t)
	id, _ := s.logOf("sh1")
	s.append(id, 1, 3)
	s.applied("sh1", 3)
	if err := s.conn.DeleteLog(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	foreign := id
	foreign.Incarnation = "FOREIGN"
	if _, err := s.conn.CreateLog(t.Context(), foreign, 1); err != nil {
		t.Fatal(err)
	}
	s.ready("sh1", 0)
	if reply, err := call[events.RecoverReply](s, events.APIRecover, events.RecoverRequest{ID: "r1", Shard: "sh1"}); err != nil || reply.Log.Origin.Seq != 3 {
		t.Fatalf("recover: %+v, %v", reply, err)
	}
	s.ready("sh1", 3)
}

// ending are the logs of a leader that loses the bus at a point of its work.
type ending struct {
	controller.Logs
	mu     sync.Mutex
	after  string
	cut    func()
	counts map[string]int
}

func (e *ending) did(what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.counts[what]++
	if e.after == what {
		e.cut()
	}
}

func (e *ending) DeleteLog(ctx context.Context, id events.LogID) error {
	err := e.Logs.DeleteLog(ctx, id)
	e.did("delete")
	return err
}

func (e *ending) CreateLog(ctx context.Context, id events.LogID, first uint64) (shardlog.LogState, error) {
	st, err := e.Logs.CreateLog(ctx, id, first)
	e.did("create")
	return st, err
}

func (e *ending) arm(after string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.after = after
}

func TestController_LeaderThatEndsWhileItRecoversIsContinued(t *testing.T) {
	t.Parallel()
	for _, after := range []string{"delete", "create"} {
		t.Run("after "+after, func(t *testing.T) {
			s := newSite(t)
			conn := s.connect()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			cut := sync.OnceFunc(func() { conn.Close(); cancel() }) // nobody can answer any more
			first := &ending{Logs: conn, cut: cut, counts: map[string]int{}}
			s.leadWith(conn, first, "c1", 1)
			s.host("h1")
			s.router("r1")
			s.shardServers()
			if _, err := call[events.ServersReply](s, events.APIInit, events.InitRequest{ID: "i1", N: 2, Table: studT("sh1")}); err != nil {
				t.Fatal(err)
			}
			id, _ := s.logOf("sh1")
			s.append(id, 1, 4)
			s.applied("sh1", 4)
			if err := s.conn.DeleteLog(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			foreign := id
			foreign.Incarnation = "FOREIGN"
			if _, err := s.conn.CreateLog(t.Context(), foreign, 1); err != nil {
				t.Fatal(err)
			}
			s.ready("sh1", 0)
			first.arm(after)
			s.requestInVain(ctx, events.APIRecover, events.RecoverRequest{ID: "r1", Shard: "sh1"})
			_, half := s.logOf("sh1")
			if half.Made || half.Origin == nil || half.Origin.Seq != 4 {
				t.Fatalf("left as %+v", half)
			}
			next := s.connect()
			second := &ending{Logs: next, counts: map[string]int{}}
			s.leadWith(next, second, "c2", 1)
			reply, err := call[events.RecoverReply](s, events.APIRecover, events.RecoverRequest{ID: "r1", Shard: "sh1"})
			if err != nil || reply.Log.Incarnation != half.Incarnation {
				t.Fatalf("recover: %+v, %v, want the log %s", reply, err, half.Incarnation)
			}
			s.ready("sh1", 2)
			second.mu.Lock()
			defer second.mu.Unlock()
			if second.counts["delete"] != 0 {
				t.Error("the second leader deleted a log")
			}
		})
	}
}

func TestController_PurgesWhatAllReplicasHave(t *testing.T) {
	s, _ := withTable(t, func(c *controller.Config) { c.KeepTail, c.MinPurge, c.PurgeEvery = 10, 20, 100*time.Millisecond })
	id, _ := s.logOf("sh1")
	s.append(id, 1, 100)
	testkit.Within(t, 60*time.Second, func() error {
		st, err := s.conn.Log(id).State(t.Context())
		if err != nil {
			return err
		}
		if st.First <= 50 || st.First > 91 || st.Last != 100 {
			return fmt.Errorf("the log holds %d to %d", st.First, st.Last)
		}
		return nil
	})
	testkit.Within(t, 30*time.Second, func() error {
		for _, e := range s.events() {
			if e.Entity == events.EntityShard && e.Verb == events.VerbPurged && e.About == "StudT.sh1" {
				return nil
			}
		}
		return errors.New("nobody told of the purge")
	})
}

func TestController_MadeLogThatIsMissingIsNotMadeAgain(t *testing.T) {
	s, stop := withTable(t)
	id, before := s.logOf("sh1")
	if err := s.conn.DeleteLog(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	s.ready("sh1", 0)
	stop()
	s.lead("c2", 1)
	s.serving(1)
	s.ready("sh2", 3)
	if _, after := s.logOf("sh1"); after != before {
		t.Fatalf("log %+v became %+v", before, after)
	}
	if _, err := s.conn.LogState(t.Context(), "StudT", "sh1"); !errors.Is(err, events.ErrLogMissing) {
		t.Fatalf("the log: %v, want it to be missing", err)
	}
}

func TestController_LeavesAloneWhatItDoesNotKnow(t *testing.T) {
	s, stop := withTable(t)
	ctx := t.Context()
	desired, err := s.conn.Bucket(ctx, events.BucketDesired)
	if err != nil {
		t.Fatal(err)
	}
	strange, err := desired.Create(ctx, "note", []byte("buy milk"))
	if err != nil {
		t.Fatal(err)
	}
	stop()
	s.lead("c2", 1)
	s.serving(1)
	if e, err := desired.Get(ctx, "note"); err != nil || e.Version != strange {
		t.Fatalf("a key of nobody's became %+v, %v", e, err)
	}
	s.ready("sh1", 3)
}

func TestController_TableThatCannotBeReadGoesBackOrIsLeftAlone(t *testing.T) {
	t.Parallel()
	for _, times := range []int{1, 8} { // as many as are kept
		t.Run(fmt.Sprint(times), func(t *testing.T) {
			s, stop := withTable(t)
			before := s.database()
			stop()
			ctx := t.Context()
			b, err := s.conn.Bucket(ctx, events.BucketDesired)
			if err != nil {
				t.Fatal(err)
			}
			for range times {
				e, err := b.Get(ctx, events.TableKey("StudT"))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := b.Update(ctx, e.Key, []byte("{"), e.Version); err != nil {
					t.Fatal(err)
				}
			}
			s.lead("c2", 1)
			s.serving(1)
			if times == 1 {
				if after := s.database(); fmt.Sprint(after.Servers) != fmt.Sprint(before.Servers) {
					t.Fatalf("%+v became %+v", before, after)
				}
				return
			}
			var statusErr *events.StatusError
			if _, err := call[events.ServersReply](s, events.APIInit, events.InitRequest{ID: "i9", N: 1, Table: studT("sh1")}); !errors.As(err, &statusErr) || statusErr.Code != 409 {
				t.Fatalf("init in place of a table that cannot be read: %v, want 409", err)
			}
			st, err := s.status()
			if err != nil {
				t.Fatal(err)
			}
			for _, srv := range before.Servers {
				if !slices.ContainsFunc(st.Instances, func(i events.InstanceReport) bool { return i.Name == srv.Name && i.State == events.Ready }) {
					t.Errorf("%s does not run any more", srv.Name)
				}
			}
		})
	}
}

func TestController_TableChangedByHandEndsTheTerm(t *testing.T) {
	s, _ := withTable(t)
	first, err := s.status()
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	b, err := s.conn.Bucket(ctx, events.BucketDesired)
	if err != nil {
		t.Fatal(err)
	}
	// The leader may be writing as well: whoever comes second tries again.
	testkit.Within(t, 30*time.Second, func() error {
		e, err := b.Get(ctx, events.TableKey("StudT"))
		if err != nil {
			return err
		}
		db, err := events.DecodeDatabase(e.Value)
		if err != nil {
			return err
		}
		db.Engine = "sqlite"
		value, err := json.Marshal(db)
		if err != nil {
			return err
		}
		_, err = b.Update(ctx, e.Key, value, e.Version)
		return err
	})
	testkit.Within(t, 30*time.Second, func() error {
		st, err := s.status()
		if err == nil && !st.Term.After(first.Term) {
			err = errors.New("the term goes on")
		}
		return err
	})
	if db := s.database(); db.Engine != "sqlite" {
		t.Fatalf("the change by hand is lost: %+v", db)
	}
}

func TestController_WipedBusKillsNoShardServer(t *testing.T) {
	s, _ := withTable(t)
	before := s.database()
	s.restart(true)
	testkit.Within(t, 60*time.Second, func() error {
		st, err := s.status()
		if err != nil {
			return err
		}
		if len(st.Services) != 1 || st.Services[0].Serving != 1 || len(st.Tables) != 0 { // by one who knows the new bus only
			return fmt.Errorf("services are %+v, tables %+v", st.Services, st.Tables)
		}
		for _, srv := range before.Servers {
			if !slices.ContainsFunc(st.Instances, func(i events.InstanceReport) bool { return i.Name == srv.Name && i.State == events.Ready }) {
				return fmt.Errorf("%s does not run: %+v", srv.Name, st.Instances)
			}
		}
		return nil
	})
	var statusErr *events.StatusError
	if _, err := call[events.ServersReply](s, events.APIInit, events.InitRequest{ID: "i9", N: 1, Table: studT("sh1")}); !errors.As(err, &statusErr) || statusErr.Code != 409 || !strings.Contains(statusErr.Message, "left alone") {
		t.Fatalf("init over running servers: %v, want 409", err)
	}
	testkit.Within(t, 30*time.Second, func() error {
		for _, e := range s.events() {
			if e.Entity == events.EntityTable && e.Verb == events.VerbRefused {
				return nil
			}
		}
		return errors.New("nobody told of them")
	})
}
