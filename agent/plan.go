package agent

import (
	"maps"
	"slices"
	"time"

	"ringway/events"
)

// verb is something to do for one instance.
type verb string

const (
	start  verb = "start"
	remove verb = "remove" // stop and forget
)

type step struct {
	verb verb
	spec events.InstanceSpec
}

// plan is what to do now so that what runs becomes what is assigned. Nil means
// no news, and no news changes nothing; closing wants nothing to run.
func plan(entries map[string]*entry, accepted *accepted, closing bool, now time.Time) []step {
	var steps []step
	wanted := map[string]bool{}
	if accepted != nil && !closing {
		for _, spec := range accepted.assignment.Instances {
			wanted[spec.Name] = true
			if entries[spec.Name] == nil {
				steps = append(steps, step{start, spec})
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		e := entries[name]
		switch {
		case e.busy != "" || now.Before(e.retryAt):
		case e.phase == stopping: // it was asked to end, whatever is wanted now
			steps = append(steps, step{remove, e.spec})
		case closing:
			steps = append(steps, step{remove, e.spec})
		case accepted == nil || wanted[name]:
		case e.phase == running && e.foreign(accepted):
			// The bus was wiped and does not know it yet; that is no order to kill it.
		default:
			steps = append(steps, step{remove, e.spec})
		}
	}
	return steps
}

// foreign: neither started by nor ever named in this life of the bus.
func (e *entry) foreign(o *accepted) bool {
	owner := o.fence.Owners[e.spec.Name]
	if owner == "" {
		owner = e.in.Token.Incarnation
	}
	return owner != "" && owner != o.assignment.Term.Incarnation
}
