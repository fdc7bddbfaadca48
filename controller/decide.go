package controller

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"ringway/events"
)

// An effect is something to do in the world. Effects are applied in order; a
// put that fails ends the term.
type effect interface{ effect() }

type (
	putService struct{ value events.Service }
	putAssign  struct{ value events.Assignment }
	putRoute   struct{ value events.Route }
	putTable   struct{ value events.Database }

	putTableRoute struct{ value events.TableRoute }

	emit   struct{ event events.Event }
	resign struct{ key string } // the term ends; the next one begins with what is stored
	answer struct {
		request *request
		reply   events.ScaleReply
		err     error
	}
	answerTable struct {
		request *tableRequest
		reply   any
		err     error
	}
	deleteOldLog struct{ id events.LogID } // for it; and tell the state, later
	createLog    struct {                  // and tell the state, later
		id    events.LogID
		first uint64
	}
	answerStatus struct {
		done   func(any, error)
		status events.Status
	}
	purgeLog struct { // and tell the state, later
		id    events.LogID
		below uint64
		worth uint64 // entries at least, or it is not worth the work
	}
)

func (putService) effect() {}
func (putAssign) effect()  {}
func (putRoute) effect()   {}
func (emit) effect()       {}
func (resign) effect()     {}
func (answer) effect()     {}

func (answerStatus) effect() {}

func (putTable) effect()      {}
func (putTableRoute) effect() {}
func (answerTable) effect()   {}
func (deleteOldLog) effect()  {}
func (createLog) effect()     {}
func (purgeLog) effect()      {}

// decide compares what is wanted with what is, and returns the next steps
// towards it. It is called again after they are applied, until nothing is left
// to do. Taking something out of rotation comes first: clients wait for that.
func (s *state) decide(now time.Time) []effect {
	effects := s.expire(now)
	for _, layer := range []func(time.Time) []effect{
		s.routeServices, s.routeTables,
		s.acceptDeferred, s.configureServices, s.createConfiguredTables, s.configureServers, s.beginTableRequests, s.createLogs,
		s.replaceInstances, s.restartServers, s.replaceServers, s.moveServers, s.rollOutServices,
		s.placeVolumes, s.placeInstances, s.releaseInstances, s.purgeLogs,
		s.replyRequests, s.replyTableRequests, s.replyStatusRequests,
	} {
		if next := layer(now); len(next) > 0 {
			return append(effects, next...)
		}
	}
	return effects
}

// configureServices creates the services that the configuration names, and follows the
// configuration when it has changed; what people asked for since then stands
// otherwise.
func (s *state) configureServices(now time.Time) (effects []effect) {
	for _, w := range s.cfg.Services {
		have, ok := s.services[w.Name]
		if _, table := s.tables[w.Name]; table && !ok {
			effects = append(effects, s.emitOnce(now, events.EntityService, w.Name, errors.New("a table has this name"))...)
			continue
		}
		if ok && (w.ConfigHash == "" || have.value.ConfigHash == w.ConfigHash) || !ok && !s.readyToPlace(now) {
			continue
		}
		next := events.Service{Spec: events.DefaultServiceSpec()}
		if ok {
			next = have.value
		} else {
			next.Spec.Name = w.Name
			next.Replicas = s.adoptable(w.Name)
			next.Spec.Replicas = max(next.Spec.Replicas, len(next.Replicas))
		}
		spec, err := w.Overlay(next.Spec)
		if err != nil {
			effects = append(effects, s.emitOnce(now, events.EntityService, w.Name, err)...)
			continue
		}
		if before := next.Runs(); ok {
			next.Before, next.Stuck = &before, ""
		}
		next.Spec, next.ConfigHash = spec, w.ConfigHash
		verb := events.VerbScaled
		if !ok {
			verb = events.VerbCreated
		}
		before := len(next.Replicas)
		next.Replicas = s.resize(next, spec.Replicas)
		next.Decision = s.because(s.event(now, events.EntityService, verb, w.Name, map[string]any{
			"reason": "configuration", "replicas": replicaNames(next.Replicas), "from": before, "to": len(next.Replicas), "algorithm": spec.Algorithm,
		}))
		effects = append(effects, putService{next})
	}
	return effects
}

// adoptable finds the instances of a service that no stored value knows: those
// that outlived their bus. They are adopted, not killed.
func (s *state) adoptable(service string) (found []events.Replica) {
	for _, name := range sorted(s.hosts) {
		if s.hosts[name].heartbeat == nil {
			continue
		}
		for _, i := range s.hosts[name].heartbeat.Instances {
			taken := slices.ContainsFunc(found, func(r events.Replica) bool { return r.ID == i.ID || r.Name == i.Name })
			if i.Kind == "" && i.Service == service && i.State != events.Dead && i.State != events.Stopping && i.ID > 0 && !taken {
				found = append(found, events.Replica{Name: i.Name, ID: i.ID})
			}
		}
	}
	slices.SortFunc(found, byID)
	return found
}

// replaceInstances gives the place of a dead instance to a new one.
func (s *state) replaceInstances(now time.Time) (effects []effect) {
	for _, name := range sorted(s.services) {
		svc := s.services[name].value
		svc.Replicas = slices.Clone(svc.Replicas)
		var cause []events.Event
		for i, old := range svc.Replicas {
			why, at := s.failureOf(old.Name, now)
			place := replicaKey{name, old.ID}
			if why == "" || !s.mayReplace(place, now) {
				continue
			}
			s.recordFailure(place, now)
			svc.Replicas[i] = events.Replica{Name: cmp.Or(old.Next, s.freshName(svc)), ID: old.ID, Request: old.Request}
			cause = append(cause,
				s.event(now, events.EntityInstance, events.VerbDied, old.Name, map[string]any{"service": name, "id": old.ID, "host": at, "reason": why}),
				s.event(now, events.EntityInstance, events.VerbReplaced, old.Name, map[string]any{"service": name, "id": old.ID, "by": svc.Replicas[i].Name, "reason": why}))
		}
		if len(cause) > 0 {
			svc.Decision = s.because(cause...)
			effects = append(effects, putService{svc})
		}
	}
	return effects
}

// failureOf says why an instance has to be replaced, if it has to, and where it was.
func (s *state) failureOf(instance string, now time.Time) (why, at string) {
	at, ok := s.placement(instance)
	if !ok {
		return "", ""
	}
	h := s.hosts[at]
	if h != nil && h.state == events.Lost {
		if len(s.alive()) == 0 {
			return "", at // nowhere to go; it may well be serving
		}
		return "host " + at + " is lost", at
	}
	status, ok := h.status(instance)
	switch {
	case ok && status.State == events.Dead:
		return cmp.Or(status.Detail, "it ended"), at
	case ok && status.State == events.Unready && now.Sub(s.unready[instance]) >= s.cfg.ReplaceUnreadyAfter:
		return fmt.Sprintf("not ready for %s: %s", s.cfg.ReplaceUnreadyAfter, status.Detail), at
	}
	return "", at
}

func (s *state) mayReplace(p replicaKey, now time.Time) bool { return !now.Before(s.backoff[p].since) }

// recordFailure makes the next replacement of one that dies young wait: twice as
// long each time, from RetryMin to RetryMax.
func (s *state) recordFailure(p replicaKey, now time.Time) {
	b := s.backoff[p]
	if b.since.IsZero() || now.Sub(b.since) >= s.cfg.YoungAge {
		b.failures = 0
	} else {
		b.failures++
	}
	b.since = now
	if b.failures > 0 {
		b.since = now.Add(min(s.cfg.RetryMin<<min(b.failures-1, 16), s.cfg.RetryMax))
	}
	s.backoff[p] = b
}

// placeInstances assigns every wanted instance that has no host to one: where it runs
// already, else to the live host with the fewest of its service.
func (s *state) placeInstances(now time.Time) (effects []effect) {
	if !s.readyToPlace(now) {
		return nil
	}
	next := map[string]*events.Assignment{}
	var cause = map[string][]events.Event{}
	for _, name := range sorted(s.services) {
		svc := s.services[name].value
		for _, r := range instancesOf(svc) {
			if _, ok := s.placement(r.Name); ok {
				continue
			}
			at := s.choose(name, r.Name, next)
			if at == "" {
				continue // nobody lives; a heartbeat brings us back here
			}
			if next[at] == nil {
				next[at] = s.assignment(at)
			}
			next[at].Instances = append(next[at].Instances, instanceSpec(svc.Runs(), r))
			cause[at] = append(cause[at], s.event(now, events.EntityInstance, events.VerbAssigned, r.Name, map[string]any{"service": name, "id": r.ID, "host": at}))
		}
	}
	s.placeServers(now, next, cause)
	for _, at := range sorted(next) {
		next[at].Decision = s.because(cause[at]...)
		effects = append(effects, putAssign{*next[at]})
	}
	return effects
}

// choose picks a host for an instance; next holds what this round has placed.
func (s *state) choose(service, instance string, next map[string]*events.Assignment) string {
	best, fewest := "", [2]int{}
	for _, name := range s.alive() {
		if st, ok := s.hosts[name].status(instance); ok && st.State != events.Dead {
			return name
		}
		a := s.assignment(name)
		if next[name] != nil {
			a = next[name]
		}
		load := [2]int{0, len(a.Instances)}
		for _, i := range a.Instances {
			if i.Kind == "" && i.Service == service {
				load[0]++
			}
		}
		if best == "" || slices.Compare(load[:], fewest[:]) < 0 {
			best, fewest = name, load
		}
	}
	return best
}

// alive lists the hosts that can be given work.
func (s *state) alive() (names []string) {
	for _, name := range sorted(s.hosts) {
		if h := s.hosts[name]; h.heartbeat != nil && h.state == events.Alive {
			names = append(names, name)
		}
	}
	return names
}

// assignment is a copy of what a host shall run now.
func (s *state) assignment(host string) *events.Assignment {
	a := events.Assignment{Host: host, Instances: []events.InstanceSpec{}}
	if have, ok := s.assigned[host]; ok {
		a.Instances = slices.Clone(have.value.Instances)
	}
	return &a
}

func instanceSpec(spec events.ServiceSpec, r events.Replica) events.InstanceSpec {
	return events.InstanceSpec{
		Name: r.Name, Service: spec.Name, ID: r.ID, Command: spec.Command, Env: spec.Env,
		Image: spec.Image, Port: spec.Port, Limits: spec.Limits, Health: spec.Health, Grace: spec.Grace,
	}
}

// releaseInstances takes what is no longer wanted away from its host, once no router
// has a request there.
func (s *state) releaseInstances(now time.Time) (effects []effect) {
	for _, at := range sorted(s.assigned) {
		next := s.assignment(at)
		var cause []events.Event
		next.Instances = slices.DeleteFunc(next.Instances, func(i events.InstanceSpec) bool {
			if s.isWanted(i, at) {
				return false
			}
			s.noteDraining(i, at, now)
			why, done := s.drained(i, at, now)
			if done {
				delete(s.draining, i.Name)
				delete(s.unready, i.Name)
				of := "service"
				if i.Kind == events.KindShard {
					of = "table"
				}
				cause = append(cause, s.event(now, events.EntityInstance, events.VerbRemoved, i.Name, map[string]any{of: i.Service, "id": i.ID, "host": at, "reason": why}))
			}
			return done
		})
		if len(cause) > 0 {
			next.Decision = s.because(cause...)
			effects = append(effects, putAssign{*next})
		}
	}
	return effects
}

// isWanted reports whether an instance shall go on running. Of a service or table
// that nobody can read any more, or a table that nobody knows, all do.
func (s *state) isWanted(i events.InstanceSpec, at string) bool {
	if i.Kind == events.KindShard {
		db, ok := s.tables[i.Service]
		return !ok || wantedAt(db.value, i.Name, at)
	}
	svc, ok := s.services[i.Service]
	return ok && isWanted(svc.value, i.Name) || !ok && s.undecodable[i.Service]
}

// noteDraining notes since when an unwanted instance drains. One that is only
// restarted has no deadline.
func (s *state) noteDraining(i events.InstanceSpec, at string, now time.Time) {
	if _, _, ok := s.restarting(i, at); ok {
		return
	}
	if _, ok := s.draining[i.Name]; !ok {
		s.draining[i.Name] = now
	}
}

// drained reports whether an unwanted instance may be stopped, and why.
func (s *state) drained(i events.InstanceSpec, at string, now time.Time) (string, bool) {
	h := s.hosts[at]
	if h == nil || h.state == events.Lost {
		return "host is lost", true
	}
	if st, ok := h.status(i.Name); ok && st.State == events.Dead {
		return "dead", true
	}
	if db, srv, ok := s.restarting(i, at); ok {
		return s.mayStop(db, srv, now) // whatever time that takes
	}
	limit := events.DefaultServiceSpec().Drain.D()
	if svc, ok := s.services[i.Service]; ok && i.Kind == "" {
		limit = svc.value.Spec.Drain.D()
	}
	if now.Sub(s.draining[i.Name]) >= limit {
		return fmt.Sprintf("not drained after %s", limit), true
	}
	if i.Kind == events.KindShard {
		return s.outOfRoute(i, now)
	}
	route, ok := s.routes[i.Service]
	if !ok {
		return "never routed to", true
	}
	if owns(route.value, i.Name) || !s.served(i.Service, route.version, now) {
		return "", false
	}
	for _, r := range s.routers {
		if r.heartbeat.InFlight[i.Service][i.Name] > 0 && s.silence(r.seen, now) < s.cfg.SuspectAfter {
			return "", false
		}
	}
	return "drained", true
}

// served reports whether every live router obeys this epoch. Right after a
// break nobody can tell which routers live.
func (s *state) served(service string, epoch events.Epoch, now time.Time) bool {
	return s.servedBy(func(b *events.RouterHeartbeat) events.Epoch { return b.Epochs[service] }, epoch, now)
}

func (s *state) servedBy(epochAt func(*events.RouterHeartbeat) events.Epoch, epoch events.Epoch, now time.Time) bool {
	live := 0
	for _, r := range s.routers {
		if s.silence(r.seen, now) >= s.cfg.SuspectAfter {
			continue
		}
		live++
		if at := epochAt(&r.heartbeat); at != epoch && !at.After(epoch) {
			return false
		}
	}
	return live > 0 || now.Sub(s.since) >= s.cfg.SuspectAfter
}

func (s *state) because(cause ...events.Event) events.Decision {
	return events.Decision{Term: s.term, Cause: cause}
}
