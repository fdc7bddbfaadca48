package database_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardapi"
	"ringway/internal/testkit"
	"ringway/shard/apply"
	"ringway/shard/sqlite"
	"ringway/shard/storage"
)

// shardServer is a shard server in small: a real store, moved by a real
// applier, behind the native API. A test can spoil it.
type shardServer struct {
	t        *testing.T
	cluster  *cluster
	name     string
	address  string
	engine   *sqlite.Engine
	replicas map[string]*replica
	stop     func() // the HTTP server; its replicas go on

	reads   atomic.Int64  // requests for rows
	keys    atomic.Int64  // of gets
	cutAt   atomic.Int64  // break the connection before this row of an answer; 0: never
	refuse  atomic.Int64  // answer with this code
	hold    chan struct{} // if not nil, requests wait for it
	minSeqs atomic.Uint64 // the last minimum seq asked for
	wait    time.Duration // for a minimum seq
	lies    atomic.Bool   // answers below the minimum seq after that
	broken  atomic.Int64  // answers whose reader was gone
}

type replica struct {
	store     storage.Store
	log       events.LogID
	responder bool

	mu      sync.Mutex
	applier *apply.Applier
	halt    func()
}

func (c *cluster) startServer(name string, shards []events.Shard, kept []string) *shardServer {
	c.t.Helper()
	engine, err := sqlite.Open(c.t.TempDir())
	testkit.Must(c.t, err)
	c.t.Cleanup(func() { _ = engine.Close() })
	s := &shardServer{t: c.t, cluster: c, name: name, engine: engine, replicas: map[string]*replica{}, wait: testkit.Patience / 3}
	for _, id := range kept {
		for _, one := range shards {
			if one.ID == id {
				store, err := engine.Create(c.t.Context(), events.ShardSpec{Table: events.DefaultTable, Schema: schema, Shard: one}, life)
				testkit.Must(c.t, err)
				s.replicas[id] = &replica{store: store, log: events.LogID{Table: events.DefaultTable, Shard: id, Incarnation: life}}
				s.apply(id)
			}
		}
	}
	s.listen("")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.servers[name] = s
	return s
}

// listen serves at an address, again after kill.
func (s *shardServer) listen(address string) {
	s.t.Helper()
	l := listen(s.t, address)
	s.address = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var open sync.RWMutex // for reading by each request
	server := &http.Server{BaseContext: func(net.Listener) context.Context { return ctx },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			open.RLock()
			defer open.RUnlock()
			s.serve(w, r)
		})}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		_ = server.Close()
		<-done
		open.Lock()
		defer open.Unlock()
	})
	s.t.Cleanup(s.stop)
}

// kill ends it as a crash does, but for the data.
func (s *shardServer) kill() {
	s.stop()
	for id := range s.replicas {
		s.pause(id)
	}
}

// apply moves a replica along its log until pause.
func (s *shardServer) apply(id string) {
	r := s.replicas[id]
	cfg := apply.DefaultConfig()
	cfg.Responder = r.responder
	ctx, cancel := context.WithCancel(context.Background())
	a := apply.New(cfg, r.store, s.cluster.conn.Log(r.log), s.cluster.conn, testkit.Quiet)
	done := make(chan struct{})
	go func() { defer close(done); _ = a.Run(ctx) }()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.applier, r.halt = a, sync.OnceFunc(func() { cancel(); <-done })
	s.t.Cleanup(r.halt)
}

func (s *shardServer) pause(id string) {
	r := s.replicas[id]
	r.mu.Lock()
	halt := r.halt
	r.mu.Unlock()
	halt()
}

func (s *shardServer) setResponder(id string) {
	s.pause(id)
	s.replicas[id].responder = true
	s.apply(id)
}

func (r *replica) wait(ctx context.Context, minSeq uint64) error {
	r.mu.Lock()
	a := r.applier
	r.mu.Unlock()
	return a.Wait(ctx, minSeq)
}

func (s *shardServer) serve(w http.ResponseWriter, r *http.Request) {
	if code := int(s.refuse.Load()); code != 0 {
		deny(w, code, "spoiled")
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/tables/{table}/shards/{shard}/rows", s.rows)
	mux.HandleFunc("POST "+shardapi.GetPath, s.get)
	mux.HandleFunc("GET /v1/tables/{table}/shards/{shard}/ops/{batch}", s.ops)
	mux.ServeHTTP(w, r)
}

func deny(w http.ResponseWriter, code int, why string) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(events.StatusErrorf(code, "%s", why))
}

// find is the replica of a request, which has applied the minimum seq.
func (s *shardServer) find(w http.ResponseWriter, r *http.Request) *replica {
	minSeq, _ := strconv.ParseUint(r.URL.Query().Get("floor"), 10, 64)
	one, statusErr := s.replica(r.Context(), r.PathValue("table"), r.PathValue("shard"), r.URL.Query().Get("log"), minSeq)
	if statusErr != nil {
		deny(w, statusErr.Code, statusErr.Message)
		return nil
	}
	return one
}

func (s *shardServer) replica(ctx context.Context, table, id, log string, minSeq uint64) (*replica, *events.StatusError) {
	one := s.replicas[id]
	if one == nil || table != events.DefaultTable || log != one.log.Incarnation {
		return nil, events.StatusErrorf(409, "another log")
	}
	s.minSeqs.Store(minSeq)
	ctx, cancel := context.WithTimeout(ctx, s.wait)
	defer cancel()
	if err := one.wait(ctx, minSeq); err != nil && !s.lies.Load() {
		return nil, events.StatusErrorf(503, "%s", err)
	}
	return one, nil
}

// count counts a request for rows, and holds it up.
func (s *shardServer) count(r *http.Request) {
	s.reads.Add(1)
	s.held(r)
}

func (s *shardServer) held(r *http.Request) {
	if s.hold == nil {
		return
	}
	select {
	case <-s.hold:
	case <-r.Context().Done():
	}
}

func (s *shardServer) rows(w http.ResponseWriter, r *http.Request) {
	s.count(r)
	one := s.find(w, r)
	if one == nil {
		return
	}
	low, err1 := strconv.ParseInt(r.URL.Query().Get("low"), 10, 64)
	high, err2 := strconv.ParseInt(r.URL.Query().Get("high"), 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		deny(w, 400, err.Error())
		return
	}
	s.stream(w, one, low, high, nil)
}

func (s *shardServer) stream(w http.ResponseWriter, one *replica, low, high int64, keys map[int64]bool) {
	n := 0
	seq, err := one.store.Range(context.Background(), low, high, func(row rowjson.Row, seq uint64) error {
		if keys != nil && !keys[row.Key()] {
			return nil
		}
		if n++; n == 1 && keys == nil {
			_, _ = w.Write(shardapi.AppendSeq(nil, seq))
		}
		if cut := s.cutAt.Load(); cut > 0 && int64(n) >= cut {
			_ = http.NewResponseController(w).Flush()
			if nc, _, err := http.NewResponseController(w).Hijack(); err == nil {
				_ = nc.(*net.TCPConn).SetLinger(0)
				_ = nc.Close()
			}
			return errors.New("cut")
		}
		_, err := w.Write(append(schema.AppendRow(nil, row), '\n'))
		if err != nil {
			s.broken.Add(1)
		}
		return err
	})
	if err == nil {
		_, _ = w.Write(shardapi.AppendEnd(nil, seq, n))
	}
}

func (s *shardServer) get(w http.ResponseWriter, r *http.Request) {
	s.count(r)
	body, _ := io.ReadAll(r.Body)
	parts, err := shardapi.DecodeGet(body)
	if err != nil {
		deny(w, 400, err.Error())
		return
	}
	for _, p := range parts {
		one, statusErr := s.replica(r.Context(), p.Table, p.Shard, p.Log, p.MinSeq)
		if statusErr != nil {
			_, _ = w.Write(shardapi.AppendFault(nil, statusErr))
			continue
		}
		s.keys.Add(int64(len(p.Keys)))
		keys, low, high := map[int64]bool{}, int64(math.MaxInt64), int64(math.MinInt64)
		for _, k := range p.Keys {
			keys[k], low, high = true, min(low, k), max(high, k)
		}
		s.stream(w, one, low, high, keys)
	}
}

func (s *shardServer) ops(w http.ResponseWriter, r *http.Request) {
	s.held(r)
	one := s.find(w, r)
	if one == nil {
		return
	}
	results, err := one.store.Results(r.Context(), r.PathValue("batch"))
	if errors.Is(err, events.ErrNotFound) {
		deny(w, 404, err.Error())
		return
	}
	if err != nil {
		deny(w, 503, err.Error())
		return
	}
	_ = json.NewEncoder(w).Encode(results)
}
