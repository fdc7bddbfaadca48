package services

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// RollOut is the rolling update of services whose configuration has changed. One
// replica at a time gets a successor, and only while all others serve. The
// successor gets the replica's requests when it is ready, and its place when it
// has been ready for min_ready; until then the replica stands by. If the
// successor fails, the update halts, and what was changed goes back the same way.
// A service of which nothing was ever good is replaced at once: it has nothing to lose.
func RollOut(s *cluster.State, now time.Time) (effects []cluster.Effect) {
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		svc := s.Services[name].Value
		svc.Replicas = slices.Clone(svc.Replicas)
		cause, changed := finishReplacements(s, &svc, now)
		if !changed && prove(s, &svc, now) {
			changed = true
		}
		if !changed {
			cause = startReplacements(s, &svc, now)
			changed = len(cause) > 0
		}
		if changed {
			svc.Decision = s.Because(cause...)
			effects = append(effects, cluster.PutService{Value: svc})
			continue
		}
		if why := rolloutBlockedBy(s, svc); why != "" {
			effects = append(effects, s.ReportOnce(now, events.EntityService, events.VerbPostponed, name, why)...)
		}
	}
	return effects
}

// finishReplacements lets the next of a replica take its place when it has been
// ready for long enough, and gives it up when it has failed or runs what is
// configured no more.
func finishReplacements(s *cluster.State, svc *events.Service, now time.Time) (cause []events.Event, changed bool) {
	for i, r := range svc.Replicas {
		if r.Next == "" {
			continue
		}
		at, placed := s.Placement(r.Next)
		about := func(verb, instance, by, why string) {
			data := map[string]any{"service": svc.Spec.Name, "id": r.ID, "host": at, "reason": why}
			if by != "" {
				data["by"] = by
			}
			cause = append(cause, s.Event(now, events.EntityInstance, verb, instance, data))
		}
		why, lost := nextFailed(s, svc.Spec, r.Next, now)
		switch {
		case placed && outdatedBecause(s, target(*svc), r.Next) != "":
			svc.Replicas[i].Next = ""
			about(events.VerbReplaced, r.Next, r.Name, "something else is configured")
		case why == "" && s.ReadyFor(r.Next, now) >= svc.Spec.MinReady.D() && isReady(s, r.Next):
			svc.Replicas[i] = events.Replica{Name: r.Next, ID: r.ID, Request: r.Request}
			svc.Proven = svc.Proven || svc.Stuck == ""
			about(events.VerbReplaced, r.Name, r.Next, fmt.Sprintf("the configuration changed, and %s has been ready for %s", r.Next, svc.Spec.MinReady.D()))
		case why == "":
			continue
		default:
			svc.Replicas[i].Next = ""
			about(events.VerbDied, r.Next, "", why)
			s.RecordFailure(cluster.ReplicaKey{Service: svc.Spec.Name, ID: r.ID}, cluster.WasReady(s, r.Next), now)
			if !lost && svc.Stuck == "" { // a lost host is no failure of the new configuration
				did := "become"
				if cluster.WasReady(s, r.Next) {
					did = "stay"
				}
				svc.Stuck, svc.Proven = fmt.Sprintf("%s, with the new configuration, did not %s ready: %s", r.Next, did, why), false
				cause = append(cause, s.Event(now, events.EntityService, events.VerbHalted, svc.Spec.Name, map[string]any{"reason": svc.Stuck}))
			}
		}
		changed = true
	}
	return cause, changed
}

// nextFailed is why a successor will not take the place of a replica; lost: its
// host is.
func nextFailed(s *cluster.State, spec events.ServiceSpec, instance string, now time.Time) (why string, lost bool) {
	why, at := failureOf(s, instance, now)
	lost = at != "" && s.Hosts[at] != nil && s.Hosts[at].State == events.Lost
	limit := s.Cfg.RestartTimeout + spec.MinReady.D()
	if first, ok := s.FirstReady[instance]; why == "" && ok && now.Sub(first) >= limit && s.HostAlive(at) && !isReady(s, instance) {
		st, _ := s.Hosts[at].Status(instance)
		why = fmt.Sprintf("it was not ready for %s at a time within %s: %s", spec.MinReady.D(), limit, cmp.Or(st.Detail, st.State))
	}
	return why, lost
}

// prove notes that what is configured works: a replica that runs it has been ready
// for long enough. What is configured later is measured against it.
func prove(s *cluster.State, svc *events.Service, now time.Time) bool {
	if svc.Proven || svc.Stuck != "" {
		return false
	}
	svc.Proven = slices.ContainsFunc(svc.Replicas, func(r events.Replica) bool {
		return isReady(s, r.Name) && s.ReadyFor(r.Name, now) >= svc.Spec.MinReady.D() && outdatedBecause(s, svc.Spec, r.Name) == ""
	})
	return svc.Proven
}

// startReplacements finds what is to be replaced next: first what does not serve,
// for that costs nothing, and then by id.
func startReplacements(s *cluster.State, svc *events.Service, now time.Time) (cause []events.Event) {
	name, want := svc.Spec.Name, target(*svc)
	about := func(verb, instance string, r events.Replica, data map[string]any) {
		data["service"], data["id"] = name, r.ID
		cause = append(cause, s.Event(now, events.EntityInstance, verb, instance, data))
	}
	if svc.Before == nil {
		for i, old := range svc.Replicas {
			if why := outdatedBecause(s, want, old.Name); why != "" && !serves(s, name, old) && old.Next == "" {
				svc.Replicas[i].Name = cluster.FreshName(s, *svc)
				about(events.VerbReplaced, old.Name, old, map[string]any{"by": svc.Replicas[i].Name, "reason": why})
			}
		}
	}
	if len(cause) > 0 {
		return cause
	}
	i, blocked := nextReplacement(s, *svc)
	if i < 0 || blocked != "" || !s.MayReplace(cluster.ReplicaKey{Service: name, ID: svc.Replicas[i].ID}, now) {
		return nil
	}
	old := svc.Replicas[i]
	svc.Replicas[i].Next = cluster.FreshName(s, *svc)
	about(events.VerbCreated, svc.Replicas[i].Next, old, map[string]any{"follows": old.Name, "reason": outdatedBecause(s, want, old.Name)})
	return cause
}

// nextReplacement is the replica that gets a successor next, -1 if none does, and
// whom that has to wait for.
func nextReplacement(s *cluster.State, svc events.Service) (next int, blocked string) {
	next = -1
	if slices.ContainsFunc(svc.Replicas, func(r events.Replica) bool { return r.Next != "" }) {
		return next, ""
	}
	idle := ""
	for i, r := range svc.Replicas {
		outdated, up := outdatedBecause(s, target(svc), r.Name) != "", serves(s, svc.Spec.Name, r)
		switch {
		case outdated && !up: // before all others
			return i, ""
		case outdated && next < 0:
			next = i
		case !up:
			idle = cmp.Or(idle, r.Name)
		}
	}
	if next >= 0 && idle != "" {
		blocked = idle + ", which is to serve meanwhile, does not: " + stateOf(s, idle)
	}
	return next, blocked
}

// rolloutBlockedBy is what keeps a rollout waiting that has not halted.
func rolloutBlockedBy(s *cluster.State, svc events.Service) string {
	_, blocked := nextReplacement(s, svc)
	if blocked == "" {
		return ""
	}
	return "the change waits: " + blocked
}

// Detail describes how far a change of a service is, and where it is not as configured.
func Detail(s *cluster.State, svc events.Service) string {
	var all []string
	add := func(line string) {
		if line != "" {
			all = append(all, line)
		}
	}
	add(progress(s, svc))
	if n := len(svc.Replicas); svc.Asked != nil && *svc.Asked != n {
		add(fmt.Sprintf("%d replicas by request; the file's %d counts when that number is changed", n, *svc.Asked))
	}
	for _, w := range s.Cfg.Services {
		if w.Name == svc.Spec.Name {
			_, why := isNew(w, svc)
			add(why)
		}
	}
	return strings.Join(all, "; ")
}

// progress is how far a change is, if one is under way or has halted.
func progress(s *cluster.State, svc events.Service) string {
	if svc.Stuck != "" {
		return svc.Stuck
	}
	behind := 0
	for _, r := range svc.Replicas {
		if r.Next != "" {
			return fmt.Sprintf("%s is to follow %s: %s", r.Next, r.Name, stateOf(s, r.Next))
		}
		if outdatedBecause(s, target(svc), r.Name) != "" {
			behind++
		}
	}
	if behind == 0 {
		return ""
	}
	return fmt.Sprintf("%d replicas are to be replaced; %s", behind, cmp.Or(rolloutBlockedBy(s, svc), "one is about to"))
}

// stateOf is what is known of an instance, for people.
func stateOf(s *cluster.State, instance string) string {
	at, ok := s.Placement(instance)
	if !ok {
		return "no host has room for it"
	}
	if h := s.Hosts[at]; h == nil || h.State != events.Alive {
		return "host " + at + " is silent"
	}
	st, ok := s.Hosts[at].Status(instance)
	switch {
	case !ok:
		return "host " + at + " has not begun with it"
	case st.Detail != "":
		return st.State + ": " + st.Detail
	}
	return st.State
}
