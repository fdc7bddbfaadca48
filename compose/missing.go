package main

import (
	"fmt"

	"ringway/events"
)

// missingIn is what a cluster lacks by its leader's word, in a word.
func missingIn(st events.Status) string {
	alive := map[string]bool{}
	for _, h := range st.Hosts {
		alive[h.Name] = h.State == events.Alive
	}
	for _, h := range hosts {
		if !alive[h] {
			return "agent " + h
		}
	}
	if len(st.Services) == 0 {
		return "a service"
	}
	for _, service := range st.Services {
		if service.Wanted == 0 || service.Serving < service.Wanted {
			return fmt.Sprintf("replicas of %s", service.Name)
		}
		routed := false
		for _, r := range st.Routers {
			routed = routed || r.Epochs[service.Name] == service.Epoch
		}
		if !routed {
			return "the router"
		}
	}
	return missingShard(st.Tables)
}

// missingShard is a shard with a replica that is still on its way. One that
// waits for a person does not keep the cluster from being ready: that person
// needs it.
func missingShard(tables []events.TableStatus) string {
	for _, t := range tables {
		for _, s := range t.Shards {
			for _, r := range s.Replicas {
				switch r.State {
				case events.ReplicaReady, events.ReplicaHalted, events.ReplicaQuarantined:
				default:
					return fmt.Sprintf("shard %s.%s, which is %s on %s", t.Name, s.Shard, r.State, r.Server)
				}
			}
		}
	}
	return ""
}
