package controller

import (
	"cmp"
	"slices"
	"time"

	"ringway/events"
)

// replyStatus waits for a first heartbeat of each host and shard server that is
// there: a new leader has everything in rotation and knows of nothing that runs.
func (p *plan) replyStatus(now time.Time) (effects []effect) {
	if len(p.statusRequests) == 0 || now.Sub(p.s.since) < 2*events.HeartbeatInterval && !p.s.allObserved() {
		return nil
	}
	st := p.s.status(now)
	for _, done := range p.statusRequests {
		effects = append(effects, answer{done: done, reply: st})
	}
	p.statusRequests = nil
	return effects
}

func (s *state) allObserved() bool {
	for _, h := range s.hosts {
		if h.heartbeat == nil {
			return false
		}
	}
	for _, srv := range s.servers {
		if srv.heartbeat == nil {
			return false
		}
	}
	return true
}

// status is all that the leader knows, for people.
func (s *state) status(now time.Time) events.Status {
	out := events.Status{
		Controller: s.cfg.ID, Term: s.term, Since: s.since, RolledBack: s.rollback,
		Services: []events.ServiceStatus{}, Hosts: []events.HostStatus{}, Routers: []events.RouterStatus{}, Instances: []events.InstanceReport{},
	}
	for _, name := range sorted(s.services) {
		svc := s.services[name].value
		line := events.ServiceStatus{Name: name, Algorithm: svc.Spec.Algorithm, Wanted: len(svc.Replicas), Detail: svc.Stuck}
		if r, ok := s.routes[name]; ok {
			line.Epoch, line.Serving = r.version, len(r.value.Members)-countDraining(r.value.Members)
		}
		out.Services = append(out.Services, line)
	}
	for _, name := range sorted(s.hosts) {
		h := s.hosts[name]
		line := events.HostStatus{Name: name, State: h.state, Silent: events.Duration(s.silence(h.seen, now).Round(time.Millisecond))}
		if a, ok := s.assigned[name]; ok {
			line.Instances = len(a.value.Instances)
		}
		if h.heartbeat != nil {
			line.Incarnation, line.Load = h.heartbeat.Incarnation, h.heartbeat.Load
		}
		out.Hosts = append(out.Hosts, line)
	}
	for _, id := range sorted(s.routers) {
		r := s.routers[id]
		out.Routers = append(out.Routers, events.RouterStatus{ID: id, Address: r.heartbeat.Address, Silent: events.Duration(s.silence(r.seen, now).Round(time.Millisecond)), Epochs: r.heartbeat.Epochs})
	}
	out.Instances, out.Tables = s.instances(), s.tableStatus(now)
	return out
}

// instances lists what is wanted or assigned, and what hosts run besides.
func (s *state) instances() []events.InstanceReport {
	lines := []events.InstanceReport{}
	listed := map[[2]string]bool{}
	report := func(name, service string, id int, at string) {
		if listed[[2]string{at, name}] {
			return
		}
		listed[[2]string{at, name}] = true
		line := events.InstanceReport{Name: name, Service: service, ID: id, Host: at, State: events.Pending}
		if st, ok := s.hosts[at].status(name); ok {
			line.State, line.Address, line.PID, line.Started, line.Detail = st.State, st.Address, st.PID, st.Started, st.Detail
		}
		if r, ok := s.routes[service]; ok {
			line.Serving = owns(r.value, name)
		} else if r, ok := s.tableRoutes[service]; ok {
			line.Serving = serves(r.value, name)
		}
		if h := s.hosts[at]; h != nil && h.state != events.Alive && line.Detail == "" {
			line.Detail = "host " + at + " is " + h.state // what it said last may no longer be so
		}
		lines = append(lines, line)
	}
	for service, svc := range s.services {
		for _, r := range instancesOf(svc.value) {
			at, _ := s.placement(r.Name)
			report(r.Name, service, r.ID, at)
		}
	}
	for table, db := range s.tables {
		for _, srv := range db.value.Servers {
			report(srv.Name, table, srv.ID, srv.Host)
		}
	}
	for at, a := range s.assigned {
		for _, i := range a.value.Instances {
			report(i.Name, i.Service, i.ID, at)
		}
	}
	for at, h := range s.hosts {
		if h.heartbeat != nil {
			for _, i := range h.heartbeat.Instances {
				report(i.Name, i.Service, i.ID, at)
			}
		}
	}
	slices.SortFunc(lines, func(a, b events.InstanceReport) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Host, b.Host))
	})
	return lines
}
