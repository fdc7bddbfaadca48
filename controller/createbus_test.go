package controller_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"ringway/controller"
	"ringway/events"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
)

// shardServers pretends to be all shard servers of the table: each follows the
// log that the route names, from what its volume has.
func (s *site) shardServers() {
	s.t.Helper()
	conn := s.connect()
	var mu sync.Mutex
	var route events.TableRoute
	volumes := map[int]map[string]events.Position{} // by server's id, by shard
	heartbeat := func() {
		mu.Lock()
		defer mu.Unlock()
		for _, srv := range route.Servers {
			if volumes[srv.ID] == nil {
				volumes[srv.ID] = map[string]events.Position{}
			}
			b := events.ShardHeartbeat{Server: srv.Name, Incarnation: srv.Name, Sent: time.Now()}
			for _, id := range srv.Shards {
				sh, ok := route.Shard(id)
				if !ok {
					continue
				}
				at, there := volumes[srv.ID][id]
				if o := sh.Log.Origin; !there || o != nil && *o == at {
					at.Incarnation = sh.Log.Incarnation
				}
				state := events.ReplicaReady
				if log, err := conn.LogState(s.t.Context(), route.Table.Name, id); err != nil || log.Incarnation != at.Incarnation {
					state = events.ReplicaHalted
				} else if at.Seq < log.Last {
					at.Seq, at.Batch = log.Last, fmt.Sprintf("b%d", log.Last)
				}
				volumes[srv.ID][id] = at
				b.Replicas = append(b.Replicas, events.ReplicaStatus{Table: route.Table.Name, Shard: id, State: state, Applied: at, Durable: at})
			}
			_ = conn.Publish(events.ShardSubject(srv.Name), b)
		}
	}
	s.background(func(ctx context.Context) {
		b, err := conn.Bucket(ctx, events.BucketRoutes)
		if err != nil {
			return
		}
		_ = b.Watch(ctx, "", func(e events.Entry) {
			if r, err := events.DecodeTableRoute(e.Value); err == nil {
				mu.Lock()
				route = r
				mu.Unlock()
				heartbeat()
			}
		})
	})
	s.background(func(ctx context.Context) { every(ctx, heartbeat) })
}

func studT(shards ...string) events.Table {
	t := events.Table{Name: "StudT", Schema: events.Schema{Columns: []string{"Stud_id", "Stud_name"}, DTypes: []string{"Number", "String"}}}
	for i, id := range shards {
		t.Shards = append(t.Shards, events.Shard{ID: id, Low: int64(i) * 100, Size: 100})
	}
	return t
}

// ask repeats a request until somebody answers it.
func call[R any](s *site, verb string, body any) (reply R, err error) {
	s.t.Helper()
	testkit.Within(s.t, 60*time.Second, func() error {
		ctx, cancel := context.WithTimeout(s.t.Context(), 50*time.Second)
		defer cancel()
		err = s.conn.Request(ctx, verb, body, &reply)
		var statusErr *events.StatusError
		if errors.As(err, &statusErr) {
			return nil
		}
		return err
	})
	return reply, err
}

func (s *site) database() (db events.Database) {
	s.t.Helper()
	read(s, events.BucketDesired, &db)
	return db
}

func read(s *site, bucket string, into any) {
	s.t.Helper()
	b, err := s.conn.Bucket(s.t.Context(), bucket)
	if err != nil {
		s.t.Fatal(err)
	}
	e, err := b.Get(s.t.Context(), events.TableKey("StudT"))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := json.Unmarshal(e.Value, into); err != nil {
		s.t.Fatal(err)
	}
}

func TestController_InitMakesATableThatOutlivesItsLeader(t *testing.T) {
	s := newSite(t)
	stop := s.lead("c1", 1)
	s.host("h1")
	s.host("h2")
	s.router("r1")
	s.shardServers()
	reply, err := call[events.ServersReply](s, events.APIInit, events.InitRequest{ID: "i1", N: 4, Table: studT("sh1", "sh2")})
	if err != nil || reply.N != 4 || len(reply.Added) != 4 {
		t.Fatalf("init: %+v, %v", reply, err)
	}
	before := s.database()
	for _, l := range before.Logs {
		if st, err := s.conn.Log(events.LogID{Table: "StudT", Shard: l.Shard, Incarnation: l.Incarnation}).State(t.Context()); err != nil || st.First != 1 || !l.Made {
			t.Errorf("log %+v: %+v, %v", l, st, err)
		}
	}
	stop()
	s.lead("c2", 1)
	again, err := call[events.ServersReply](s, events.APIInit, events.InitRequest{ID: "i1", N: 4, Table: studT("sh1", "sh2")})
	if err != nil || fmt.Sprint(again.Added) != fmt.Sprint(reply.Added) {
		t.Fatalf("the same init again: %+v, %v, want %v", again, err, reply.Added)
	}
	var statusErr *events.StatusError
	if _, err := call[events.ServersReply](s, events.APIInit, events.InitRequest{ID: "i2", N: 4, Table: studT("sh1")}); !errors.As(err, &statusErr) || statusErr.Code != 409 {
		t.Fatalf("another init: %v, want 409", err)
	}
	if after := s.database(); fmt.Sprint(after.Logs) != fmt.Sprint(before.Logs) || fmt.Sprint(after.Servers) != fmt.Sprint(before.Servers) {
		t.Fatalf("by an election %+v became %+v", before, after)
	}
}

// crashing are the logs of a leader that ends at a point of its work.
type crashing struct {
	controller.Logs
	before, after func()
}

func (c crashing) CreateLog(ctx context.Context, id events.LogID, first uint64) (shardlog.LogState, error) {
	if c.before != nil {
		c.before()
		return shardlog.LogState{}, errors.New("the leader is gone")
	}
	st, err := c.Logs.CreateLog(ctx, id, first)
	if c.after != nil {
		c.after()
	}
	return st, err
}

// requestInVain wants a request to go on until its leader ends in the middle of
// it, which cancels ctx.
func (s *site) requestInVain(ctx context.Context, verb string, body any) {
	s.t.Helper()
	testkit.Within(s.t, 60*time.Second, func() error {
		err := s.conn.Request(ctx, verb, body, nil)
		switch {
		case err == nil:
			s.t.Fatal("the first leader should end in the middle, and answered")
		case ctx.Err() == nil: // on a slow machine a leader may lose its term before
			return err
		}
		return nil
	})
}

func TestController_LeaderThatEndsWhileItMakesLogsIsContinued(t *testing.T) {
	t.Parallel()
	f := func(name string, set func(*crashing, func())) {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			conn := s.connect()
			c := crashing{Logs: conn}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			cut := sync.OnceFunc(func() { conn.Close(); cancel() }) // nobody can answer any more
			set(&c, cut)
			s.leadWith(conn, c, "c1", 1)
			s.host("h1")
			s.router("r1")
			s.shardServers()
			s.serving(1)
			s.requestInVain(ctx, events.APIInit, events.InitRequest{ID: "i1", N: 3, Table: studT("sh1", "sh2")})
			before := s.database()
			s.lead("c2", 1)
			reply, err := call[events.ServersReply](s, events.APIInit, events.InitRequest{ID: "i1", N: 3, Table: studT("sh1", "sh2")})
			if err != nil || len(reply.Added) != 3 {
				t.Fatalf("%+v, %v", reply, err)
			}
			after := s.database()
			for i, l := range after.Logs {
				if l.Incarnation != before.Logs[i].Incarnation || !l.Made {
					t.Errorf("log %+v was made as %+v", before.Logs[i], l)
				}
			}
		})
	}
	f("after what is wanted is stored", func(c *crashing, cut func()) { c.before = cut })
	f("after a log is made", func(c *crashing, cut func()) { c.after = cut })
}
