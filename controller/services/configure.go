package services

import (
	"errors"
	"maps"
	"slices"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// Configure creates the services that the configuration names, and follows the
// configuration when it has changed; what people requested since then stands
// otherwise.
func Configure(s *cluster.State, now time.Time) (effects []cluster.Effect) {
	for _, w := range s.Cfg.Services {
		have, ok := s.Services[w.Name]
		if _, table := s.Tables[w.Name]; table && !ok {
			effects = append(effects, s.EmitOnce(now, events.EntityService, w.Name, errors.New("a table has this name"))...)
			continue
		}
		if ok {
			isNew, why := isNew(w, have.Value)
			if why != "" {
				effects = append(effects, s.ReportOnce(now, events.EntityService, events.VerbRefused, w.Name, why)...)
			}
			if !isNew {
				continue
			}
		} else if !s.ReadyToPlace(now) {
			continue
		}
		next, verb := events.Service{Spec: events.DefaultServiceSpec()}, events.VerbCreated
		if ok {
			next, verb = have.Value, events.VerbScaled
		} else {
			next.Spec.Name = w.Name
			next.Replicas = adoptable(s, w.Name)
			next.Spec.Replicas = max(next.Spec.Replicas, len(next.Replicas))
		}
		before := len(next.Replicas)
		spec, err := w.Overlay(next.Spec)
		if err == nil {
			err = cluster.CheckSpecs(s, w.Name, spec)
		}
		if err != nil {
			effects = append(effects, s.EmitOnce(now, events.EntityService, w.Name, err)...)
			continue
		}
		if ok {
			next.Stuck = ""
		}
		if ok && w.Replicas != nil && have.Value.Asked != nil {
			if spec.Replicas = *w.Replicas; *have.Value.Asked == *w.Replicas {
				spec.Replicas = before // as people requested since
			}
		}
		next.Asked, next.Given = w.Replicas, w.Given
		if ok && changed(instanceSpec(next.Spec, events.Replica{}), instanceSpec(spec, events.Replica{})) != "" {
			if was := next.Spec; have.Value.Proven || have.Value.Before == nil && isServing(s, have.Value) {
				next.Before = &was
			}
			next.Proven = false
		}
		next.Spec, next.ConfigHash = spec, w.ConfigHash
		next.Replicas = resize(s, next, spec.Replicas)
		if err := unstorable(next); err != nil {
			effects = append(effects, s.EmitOnce(now, events.EntityService, w.Name, err)...)
			continue
		}
		next.Decision = s.Because(s.Event(now, events.EntityService, verb, w.Name, map[string]any{
			"reason": "configuration", "replicas": replicaNames(next.Replicas), "from": before, "to": len(next.Replicas), "algorithm": spec.Algorithm,
		}))
		effects = append(effects, cluster.PutService{Value: next})
	}
	return effects
}

// isNew reports whether a configuration is to be applied, and why not if somebody
// may wonder. The same one, given again, tries again what was halted.
func isNew(w cluster.ServiceConfig, have events.Service) (isNew bool, why string) {
	if w.ConfigHash != "" && w.ConfigHash == have.ConfigHash {
		return have.Stuck != "" && w.Given.After(have.Given), ""
	}
	return cluster.IsNew(w.ConfigHash, w.Given, have.ConfigHash, have.Given)
}

// isServing reports whether a replica serves that runs what is configured.
func isServing(s *cluster.State, svc events.Service) bool {
	return svc.Stuck == "" && slices.ContainsFunc(svc.Replicas, func(r events.Replica) bool {
		return serves(s, svc.Spec.Name, r) && outdatedBecause(s, svc.Spec, r.Name) == ""
	})
}

// adoptable finds the instances of a service that no stored value knows: those
// that outlived their bus. They are adopted, not killed.
func adoptable(s *cluster.State, service string) (found []events.Replica) {
	for _, name := range slices.Sorted(maps.Keys(s.Hosts)) {
		if s.Hosts[name].Heartbeat == nil {
			continue
		}
		for _, i := range s.Hosts[name].Heartbeat.Instances {
			taken := slices.ContainsFunc(found, func(r events.Replica) bool { return r.ID == i.ID || r.Name == i.Name })
			if i.Kind == "" && i.Service == service && i.State != events.Dead && i.State != events.Stopping && i.ID > 0 && !taken {
				found = append(found, events.Replica{Name: i.Name, ID: i.ID})
			}
		}
	}
	slices.SortFunc(found, cluster.ByID)
	return found
}
