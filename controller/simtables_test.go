package controller

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// database is the part of the world that is about tables: volumes, the shard
// servers on them, and the bus's logs.
type database struct {
	logs      map[string]*simLog                          // by table.shard
	volumes   map[string]map[string]*events.ReplicaStatus // by volume, by table.shard
	muted     map[string]bool                             // shard servers that send no heartbeats
	hung      map[string]bool                             // shard servers whose database hangs
	slow      bool                                        // copies do not end
	noLogs    error                                       // the bus makes no log
	purges    []cluster.PurgeLog
	made      int             // logs
	agentless bool            // shard servers send heartbeats although their agent does not
	foreign   map[string]bool // instances that assignments of another bus named
}

type simLog struct {
	id          events.LogID
	first, last uint64
}

// reread is what a later leader makes of a value.
func reread[V any](t *testing.T, v V, decode func([]byte) (V, error)) V {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	again, err := decode(b)
	if err != nil {
		t.Fatalf("stored a value that nobody can read: %v\n%s", err, b)
	}
	return again
}

func (w *sim) createLog(e cluster.CreateLog) error {
	if w.noLogs != nil {
		return w.noLogs
	}
	if w.logs == nil {
		w.logs = map[string]*simLog{}
	}
	key := e.ID.Table + "." + e.ID.Shard
	if there := w.logs[key]; there != nil && there.id != e.ID {
		return events.ErrLogForeign
	}
	if w.logs[key] == nil {
		w.logs[key] = &simLog{id: e.ID, first: e.First, last: e.First - 1}
		w.made++
	}
	return nil
}

func (w *sim) deleteOldLog(e cluster.DeleteOldLog) []cluster.Effect {
	key := e.ID.Table + "." + e.ID.Shard
	there := w.logs[key]
	is := there != nil && there.id == e.ID
	if !is {
		delete(w.logs, key)
	}
	return e.Done(is, nil, w.now)
}

func (w *sim) purgeLog(e cluster.PurgeLog) []cluster.Effect {
	l := w.logs[e.ID.Table+"."+e.ID.Shard]
	first, worth := l.first, e.Below >= l.first+e.MinPurge
	if worth {
		l.first = e.Below
	}
	return e.Done(first, worth, nil, w.now)
}

// write appends to a log; those who are ready apply it with their next heartbeat.
func (w *sim) write(shard string, n uint64) { w.logs["StudT."+shard].last += n }

func (w *sim) position(l *simLog, seq uint64) events.Position {
	p := events.Position{Incarnation: l.id.Incarnation, Seq: seq}
	if seq > 0 {
		p.Batch = fmt.Sprintf("b%d", seq)
	}
	return p
}

// serverHeartbeats moves the shard servers of a host along, and sends their heartbeats.
func (w *sim) serverHeartbeats(host string) {
	for _, name := range slices.Sorted(maps.Keys(w.agents[host])) {
		i := w.agents[host][name]
		if i.Kind != events.KindShard || i.State != events.Ready || w.muted[name] {
			continue
		}
		w.apply(w.s.ObserveServer(w.serverHeartbeat(*i), w.now))
	}
}

func (w *sim) serverHeartbeat(i events.InstanceStatus) events.ShardHeartbeat {
	if w.volumes == nil {
		w.volumes = map[string]map[string]*events.ReplicaStatus{}
	}
	if w.volumes[i.Volume] == nil {
		w.volumes[i.Volume] = map[string]*events.ReplicaStatus{}
	}
	b := events.ShardHeartbeat{Server: i.Name, Incarnation: i.Name + " at " + i.Address, Sent: w.now, Volume: i.Volume}
	route, ok := w.s.TableRoutes[i.Service]
	if !ok {
		return b
	}
	for _, sh := range route.Value.Shards {
		for _, r := range sh.Replicas {
			if r.Server != i.Name {
				continue
			}
			if at := w.volumes[i.Volume][i.Service+"."+sh.Shard]; at != nil && w.hung[i.Name] {
				b.Replicas = append(b.Replicas, *at)
				continue
			}
			b.Replicas = append(b.Replicas, w.keep(w.volumes[i.Volume], route.Value, sh))
		}
	}
	return b
}

// keep moves one replica a step along, as a shard server would.
func (w *sim) keep(volume map[string]*events.ReplicaStatus, route events.TableRoute, sh events.ShardRoute) events.ReplicaStatus {
	key := route.Table.Name + "." + sh.Shard
	log, donor := w.logs[key], false
	for _, r := range sh.Replicas {
		donor = donor || r.Ready
	}
	at := volume[key]
	if at == nil {
		at = &events.ReplicaStatus{Table: route.Table.Name, Shard: sh.Shard, State: events.ReplicaWaiting}
		volume[key] = at
	}
	switch {
	case log == nil || log.id != route.LogID(sh):
		if at.State == events.ReplicaReady {
			at.State, at.Detail = events.ReplicaHalted, "the log is gone"
		}
	case at.State == events.ReplicaCopying && !w.slow:
		at.State = events.ReplicaCatchingUp
	case at.Applied.Incarnation == log.id.Incarnation && at.State != events.ReplicaCopying:
		if at.Applied.Seq > log.last {
			at.State = events.ReplicaQuarantined
		} else {
			at.Applied, at.State = w.position(log, log.last), events.ReplicaReady
			at.Durable = at.Applied
		}
	case at.Applied.Incarnation == "" && log.first == 1 && !donor && sh.Log.Origin == nil:
		at.Applied, at.State = w.position(log, 0), events.ReplicaCatchingUp
	case sh.Log.Origin != nil && *sh.Log.Origin == at.Applied:
		at.Applied.Incarnation, at.State, at.Detail = log.id.Incarnation, events.ReplicaCatchingUp, ""
	case donor && at.State != events.ReplicaCopying:
		at.Applied, at.State, at.Detail = w.position(log, log.last), events.ReplicaCopying, ""
	case at.Applied.Incarnation != "" && at.State != events.ReplicaCopying:
		at.State = events.ReplicaQuarantined
	}
	return *at
}

func students(shards ...string) events.Table {
	t := events.Table{Name: "StudT", Schema: events.Schema{Columns: []string{"Stud_id", "Stud_name", "Stud_marks"}, DTypes: []string{"Number", "String", "String"}}}
	for i, id := range shards {
		t.Shards = append(t.Shards, events.Shard{ID: id, Low: int64(i) * 4096, Size: 4096})
	}
	return t
}

type tableAnswer struct {
	value    any
	err      error
	answered bool
}

func (w *sim) requestTable(verb string, body any) *tableAnswer {
	w.t.Helper()
	got := &tableAnswer{}
	w.request(verb, body, func(v any, err error) { *got = tableAnswer{v, err, true} })
	return got
}

func (w *sim) init(req events.InitRequest) *tableAnswer {
	w.t.Helper()
	if req.Table.Name == "" {
		req.Table = students("sh1", "sh2", "sh3", "sh4")
	}
	if req.ID == "" {
		req.ID = fmt.Sprintf("i%d", w.rev)
	}
	return w.requestTable(events.APIInit, req)
}

func (a *tableAnswer) servers(t *testing.T) events.ServersReply {
	t.Helper()
	if !a.answered || a.err != nil {
		t.Fatalf("answered %v with %v, want success", a.answered, a.err)
	}
	return a.value.(events.ServersReply)
}

// refused wants a refusal, and returns what it says.
func (a *tableAnswer) refused(t *testing.T, code int) string {
	t.Helper()
	var r *events.StatusError
	if !a.answered || !errors.As(a.err, &r) || r.Code != code {
		t.Fatalf("answered %v with %v, want a refusal with %d", a.answered, a.err, code)
	}
	return r.Message
}

// withTable is a world with a table of four shards, three copies of each.
func withTable(t *testing.T, n int, hosts ...string) *sim {
	t.Helper()
	w := newSim(t, cluster.DefaultConfig(), hosts...)
	w.run(2 * time.Second)
	got := w.init(events.InitRequest{N: n})
	w.run(5 * time.Second)
	got.servers(t)
	return w
}

func (w *sim) db() events.Database { return w.s.Tables["StudT"].Value }

func (w *sim) table() events.TableRoute { return w.s.TableRoutes["StudT"].Value }

func (w *sim) server(name string) events.ShardServer {
	w.t.Helper()
	srv, ok := cluster.ServerOf(w.db(), name)
	if !ok {
		w.t.Fatalf("%s is no server", name)
	}
	return srv
}

// replicasReady counts ready and wanted replicas in the route.
func (w *sim) replicasReady() (n, of int) {
	for _, sh := range w.table().Shards {
		for _, r := range sh.Replicas {
			of++
			if r.Ready {
				n++
			}
		}
	}
	return n, of
}

func (w *sim) wantAllReady() {
	w.t.Helper()
	if n, of := w.replicasReady(); n != of || n == 0 {
		w.t.Fatalf("%d of %d replicas are ready", n, of)
	}
}

func (w *sim) log(shard string) (events.ShardLog, bool) {
	db := w.db()
	return db.Log(shard)
}
