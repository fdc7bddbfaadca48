package controller

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"ringway/controller/cluster"
	"ringway/controller/services"
	"ringway/controller/tables"
	"ringway/controller/tables/route"
	"ringway/events"
)

// replyStatus waits for a first heartbeat of each host and shard server that is
// there: a new leader has everything in rotation and knows of nothing that runs.
func (p *plan) replyStatus(now time.Time) (effects []cluster.Effect) {
	if len(p.statusRequests) == 0 || now.Sub(p.s.Since) < 2*events.HeartbeatInterval && !allObserved(p.s) {
		return nil
	}
	st := status(p.s, now)
	for _, done := range p.statusRequests {
		effects = append(effects, cluster.Answer{Done: done, Reply: st})
	}
	p.statusRequests = nil
	return effects
}

func allObserved(s *cluster.State) bool {
	for _, h := range s.Hosts {
		if h.Heartbeat == nil {
			return false
		}
	}
	for _, srv := range s.Servers {
		if srv.Heartbeat == nil {
			return false
		}
	}
	return true
}

// status is all that the leader knows, for people.
func status(s *cluster.State, now time.Time) events.Status {
	out := events.Status{
		Controller: s.Cfg.ID, Term: s.Term, Since: s.Since, RolledBack: s.Rollback,
		Services: []events.ServiceStatus{}, Hosts: []events.HostStatus{}, Routers: []events.RouterStatus{}, Instances: []events.InstanceReport{},
	}
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		svc := s.Services[name].Value
		line := events.ServiceStatus{Name: name, Algorithm: svc.Spec.Algorithm, Wanted: len(svc.Replicas), Detail: services.Detail(s, svc)}
		if r, ok := s.Routes[name]; ok {
			line.Epoch, line.Serving = r.Version, len(r.Value.Members)-services.CountDraining(r.Value.Members)
		}
		out.Services = append(out.Services, line)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Hosts)) {
		h := s.Hosts[name]
		line := events.HostStatus{Name: name, State: h.State, Silent: events.Duration(s.Silence(h.Seen, now).Round(time.Millisecond))}
		if a, ok := s.Assigned[name]; ok {
			line.Instances = len(a.Value.Instances)
		}
		if h.Heartbeat != nil {
			line.Incarnation, line.Load = h.Heartbeat.Incarnation, h.Heartbeat.Load
		}
		out.Hosts = append(out.Hosts, line)
	}
	for _, id := range slices.Sorted(maps.Keys(s.Routers)) {
		r := s.Routers[id]
		out.Routers = append(out.Routers, events.RouterStatus{ID: id, Address: r.Heartbeat.Address, Silent: events.Duration(s.Silence(r.Seen, now).Round(time.Millisecond)), Epochs: r.Heartbeat.Epochs})
	}
	out.Instances, out.Tables = instances(s, now), tables.Status(s, now)
	return out
}

// instances lists what is wanted or assigned, and what hosts run besides.
func instances(s *cluster.State, now time.Time) []events.InstanceReport {
	lines := []events.InstanceReport{}
	listed := map[[2]string]bool{}
	report := func(name, service string, id int, at string) {
		if listed[[2]string{at, name}] {
			return
		}
		listed[[2]string{at, name}] = true
		line := events.InstanceReport{Name: name, Service: service, ID: id, Host: at, State: events.Pending}
		if st, ok := s.Hosts[at].Status(name); ok {
			line.State, line.Address, line.PID, line.Started, line.Detail = st.State, st.Address, st.PID, st.Started, st.Detail
		}
		if loops := cluster.CrashLoop(s, cluster.ReplicaKey{Service: service, ID: id}, now); loops != "" && line.State != events.Ready {
			line.Detail = strings.TrimSuffix(loops+"; "+line.Detail, "; ")
		}
		if r, ok := s.Routes[service]; ok {
			line.Serving = services.OwnsSlots(r.Value, name)
		} else if r, ok := s.TableRoutes[service]; ok {
			line.Serving = route.Serves(r.Value, name)
		}
		if h := s.Hosts[at]; h != nil && h.State != events.Alive && line.Detail == "" {
			line.Detail = "host " + at + " is " + h.State // its last report may be outdated
		}
		lines = append(lines, line)
	}
	for service, svc := range s.Services {
		for _, r := range services.InstancesOf(svc.Value) {
			at, _ := s.Placement(r.Name)
			report(r.Name, service, r.ID, at)
		}
	}
	for table, db := range s.Tables {
		for _, srv := range db.Value.Servers {
			report(srv.Name, table, srv.ID, srv.Host)
		}
	}
	for at, a := range s.Assigned {
		for _, i := range a.Value.Instances {
			report(i.Name, i.Service, i.ID, at)
		}
	}
	for at, h := range s.Hosts {
		if h.Heartbeat != nil {
			for _, i := range h.Heartbeat.Instances {
				report(i.Name, i.Service, i.ID, at)
			}
		}
	}
	slices.SortFunc(lines, func(a, b events.InstanceReport) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Host, b.Host))
	})
	return lines
}
