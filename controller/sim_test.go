package controller

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// sim is a world for decide: hosts and routers that apply what is decided, and
// a clock that only the test moves.
type sim struct {
	t       *testing.T
	s       *cluster.State
	p       *plan
	now     time.Time
	rev     uint64
	agents  map[string]map[string]*events.InstanceStatus // by host, by name
	silent  map[string]bool
	clock   map[string]time.Duration             // of a host, against ours
	routers map[string]map[string]map[string]int // in flight by router, service, member
	emitted []events.Event
	broken  string               // a command, or an image, that never gets ready
	late    string               // a command that is ready, and ends after lateAfter
	ends    string               // a command that ends before it is ready
	replies time.Duration        // until an instance that begins is ready
	born    map[string]time.Time // instances by name

	lateAfter time.Duration

	recorder *recorder // of what is decided; nil: nobody
	database
}

func newSim(t *testing.T, cfg cluster.Config, hosts ...string) *sim {
	t.Helper()
	cfg.ID = "c1"
	w := &sim{t: t, database: database{muted: map[string]bool{}}, born: map[string]time.Time{}, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), agents: map[string]map[string]*events.InstanceStatus{}, silent: map[string]bool{},
		routers: map[string]map[string]map[string]int{"r1": {}}}
	w.s = cluster.New(cfg, events.Token{Incarnation: "lease", Revision: 1}, 1, w.now)
	w.p = newPlan(w.s)
	for _, h := range hosts {
		w.agents[h] = map[string]*events.InstanceStatus{}
	}
	if *record != "" {
		w.recordTo(*record)
	}
	return w
}

// elect begins the next term, with nothing reported yet.
func (w *sim) elect() {
	before := w.s
	w.s = cluster.New(before.Cfg, events.Token{Incarnation: "lease", Revision: before.Term.Revision + 1}, before.Term.Revision+1, w.now)
	w.s.Services, w.s.Assigned, w.s.Routes = before.Services, before.Assigned, before.Routes
	w.s.Tables, w.s.TableRoutes = before.Tables, before.TableRoutes
	w.s.AssumeAlive(w.now)
	w.p = newPlan(w.s)
}

func webConfig(replicas int, change ...func(*events.ServiceSpec)) cluster.Config {
	cfg := cluster.DefaultConfig()
	cfg.Services = []cluster.ServiceConfig{{Name: "web", ConfigHash: "1", Overlay: func(base events.ServiceSpec) (events.ServiceSpec, error) {
		base.Replicas = replicas
		for _, f := range change {
			f(&base)
		}
		return base, base.Validate()
	}}}
	return cfg
}

// apply carries effects out as the term does, without any bus.
func (w *sim) apply(effects []cluster.Effect) {
	w.t.Helper()
	for _, e := range effects {
		if w.recorder != nil {
			w.recorder.effect(w.now, e)
		}
		w.rev++
		v := events.Version{Incarnation: "bus", Revision: w.rev}
		switch e := e.(type) {
		case cluster.PutService:
			w.emitted = append(w.emitted, e.Value.Cause...)
			w.s.Services[e.Value.Spec.Name] = &cluster.Stored[events.Service]{Value: reread(w.t, e.Value, events.DecodeService), Version: v, Former: w.rev - 1}
		case cluster.PutAssignment:
			w.emitted = append(w.emitted, e.Value.Cause...)
			w.s.Assigned[e.Value.Host] = &cluster.Stored[events.Assignment]{Value: reread(w.t, e.Value, events.DecodeAssignment), Version: v, Former: w.rev - 1}
		case cluster.PutRoute:
			w.emitted = append(w.emitted, e.Value.Cause...)
			w.s.Routes[e.Value.Service] = &cluster.Stored[events.Route]{Value: reread(w.t, e.Value, events.DecodeRoute), Version: v, Former: w.rev - 1}
		case cluster.PutTable:
			w.emitted = append(w.emitted, e.Value.Cause...)
			w.s.Tables[e.Value.Table.Name] = &cluster.Stored[events.Database]{Value: reread(w.t, e.Value, events.DecodeDatabase), Version: v, Former: w.rev - 1}
		case cluster.PutTableRoute:
			w.emitted = append(w.emitted, e.Value.Cause...)
			w.s.TableRoutes[e.Value.Table.Name] = &cluster.Stored[events.TableRoute]{Value: reread(w.t, e.Value, events.DecodeTableRoute), Version: v, Former: w.rev - 1}
		case cluster.DeleteOldLog:
			w.apply(w.deleteOldLog(e))
		case cluster.CreateLog:
			w.apply(e.Done(w.createLog(e), w.now))
		case cluster.PurgeLog:
			w.purges = append(w.purges, e)
			w.apply(w.purgeLog(e))
		case cluster.Emit:
			w.emitted = append(w.emitted, e.Event)
		case cluster.Answer:
			e.Done(e.Reply, e.Err)
		}
	}
}

func (w *sim) decide() {
	w.t.Helper()
	for i := 0; ; i++ {
		next := w.p.Decide(w.now)
		if len(next) == 0 {
			return
		}
		if i > 100 {
			w.t.Fatalf("decide does not come to rest; last: %#v", next)
		}
		w.apply(next)
	}
}

// step lets time pass: everybody who lives sends heartbeats, agents reconcile first.
func (w *sim) step(d time.Duration) {
	w.t.Helper()
	w.now = w.now.Add(d)
	w.s.ObserveSelf(events.ControllerHeartbeat{Controller: "c1", Term: w.s.Term, Sent: w.now}, w.now)
	for _, name := range slices.Sorted(maps.Keys(w.agents)) {
		if w.silent[name] {
			if w.agentless {
				w.serverHeartbeats(name)
			}
			continue
		}
		w.reconcile(name)
		w.apply(w.s.ObserveHost(w.hostHeartbeat(name), w.now))
		w.serverHeartbeats(name)
	}
	for _, id := range slices.Sorted(maps.Keys(w.routers)) {
		inFlight := w.routers[id]
		if w.silent[id] {
			continue
		}
		epochs := map[string]events.Epoch{}
		for service, r := range w.s.Routes {
			epochs[service] = r.Version
		}
		tables := map[string]events.Epoch{}
		for table, r := range w.s.TableRoutes {
			tables[table] = r.Version
		}
		w.apply(w.s.ObserveRouter(events.RouterHeartbeat{Router: id, Epochs: epochs, Tables: tables, InFlight: inFlight, Sent: w.now}, w.now))
	}
	w.decide()
}

// run lets time pass in heartbeats.
func (w *sim) run(d time.Duration) {
	w.t.Helper()
	for end := w.now.Add(d); w.now.Before(end); {
		w.step(events.HeartbeatInterval)
	}
}

func (w *sim) reconcile(host string) {
	a, ok := w.s.Assigned[host]
	if !ok {
		return
	}
	for _, i := range a.Value.Instances {
		if w.agents[host][i.Name] == nil {
			w.agents[host][i.Name] = &events.InstanceStatus{Name: i.Name, Service: i.Service, ID: i.ID, Kind: i.Kind, Volume: i.Volume, State: events.Ready, Address: fmt.Sprintf("10.0.0.1:%d", 20000+w.rev)}
			w.born[i.Name] = w.now
			if w.ends != "" && slices.Contains(i.Command, w.ends) {
				w.agents[host][i.Name].State, w.agents[host][i.Name].Detail = events.Dead, "exit status 1"
			}
			if w.broken != "" && (slices.Contains(i.Command, w.broken) || i.Image == w.broken) {
				w.agents[host][i.Name].State = events.Unready
			}
		}
	}
	for _, i := range a.Value.Instances {
		st, age := w.agents[host][i.Name], w.now.Sub(w.born[i.Name])
		switch {
		case w.late != "" && slices.Contains(i.Command, w.late) && age >= w.lateAfter:
			st.State, st.Detail = events.Dead, "exit status 3"
		case st.State == events.Ready && age < w.replies:
			st.State = events.Starting
		case st.State == events.Starting && age >= w.replies:
			st.State = events.Ready
		}
	}
	for name := range w.agents[host] {
		if !cluster.AssignedIn(a.Value, name) && !w.foreign[name] {
			delete(w.agents[host], name)
		}
	}
}

func (w *sim) hostHeartbeat(host string) events.HostHeartbeat {
	b := events.HostHeartbeat{Host: host, Incarnation: host + "-1", Sent: w.now.Add(w.clock[host])}
	if a, ok := w.s.Assigned[host]; ok {
		b.Assigned = a.Version
	}
	for _, name := range slices.Sorted(maps.Keys(w.agents[host])) {
		b.Instances = append(b.Instances, *w.agents[host][name])
	}
	return b
}

// find returns the host and status of an instance.
func (w *sim) find(name string) (string, *events.InstanceStatus) {
	for host, instances := range w.agents {
		if i := instances[name]; i != nil {
			return host, i
		}
	}
	w.t.Fatalf("no host runs %s", name)
	return "", nil
}

func (w *sim) members() (names []string) {
	r, ok := w.s.Routes["web"]
	if !ok {
		return nil
	}
	for _, m := range r.Value.Members {
		if !m.Draining {
			names = append(names, m.Name)
		}
	}
	return names
}

func (w *sim) replicas() []events.Replica { return w.s.Services["web"].Value.Replicas }

func (w *sim) verbs() (out []string) {
	for _, e := range w.emitted {
		out = append(out, e.Entity+"."+e.Verb)
	}
	return out
}

func (w *sim) wantEvent(kind, about string) events.Event {
	w.t.Helper()
	for _, e := range w.emitted {
		if e.Entity+"."+e.Verb == kind && (about == "" || e.About == about) {
			return e
		}
	}
	w.t.Fatalf("no event %s about %q among %v", kind, about, w.verbs())
	return events.Event{}
}

// scaleAnswer is what a request is answered.
type scaleAnswer struct {
	id       string
	answered bool
	reply    events.ScaleReply
	err      error
}

func (w *sim) scale(add bool, n int, names ...string) *scaleAnswer {
	w.t.Helper()
	return w.scaleID(fmt.Sprintf("q%d", w.rev), add, n, names...)
}

func (w *sim) scaleID(id string, add bool, n int, names ...string) *scaleAnswer {
	w.t.Helper()
	verb := map[bool]string{true: events.APIAdd, false: events.APIRemove}[add]
	got := &scaleAnswer{id: id}
	w.request(verb, events.ScaleRequest{ID: id, N: n, Names: names}, func(v any, err error) {
		reply, _ := v.(events.ScaleReply)
		*got = scaleAnswer{id, true, reply, err}
	})
	return got
}

// request sends a request to the leader.
func (w *sim) request(verb string, body any, done func(any, error)) {
	w.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	begin, err := w.p.Verbs()[verb](b)
	if err != nil {
		w.t.Fatal(err)
	}
	w.apply(begin(w.now, done))
	w.decide()
}

func started(t *testing.T, cfg cluster.Config, hosts ...string) *sim {
	t.Helper()
	w := newSim(t, cfg, hosts...)
	w.run(3 * time.Second)
	if got, want := len(w.members()), len(w.replicas()); got != want {
		t.Fatalf("after the start %d of %d replicas serve", got, want)
	}
	return w
}
