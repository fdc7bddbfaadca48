package main

import (
	"testing"

	"ringway/events"
)

func TestMissingIn(t *testing.T) {
	whole := func() events.Status {
		epoch := events.Epoch{Incarnation: "a", Revision: 7}
		shard := func(id string, states ...string) events.ShardStatus {
			s := events.ShardStatus{Table: "StudT", Shard: id}
			for _, state := range states {
				s.Replicas = append(s.Replicas, events.ReplicaReport{Server: "Server0", State: state})
			}
			return s
		}
		return events.Status{
			Hosts: []events.HostStatus{
				{Name: "host-1", State: events.Alive}, {Name: "host-2", State: events.Alive}, {Name: "host-3", State: events.Alive},
			},
			Services: []events.ServiceStatus{{Name: "web", Wanted: 3, Serving: 3, Epoch: epoch}},
			Routers:  []events.RouterStatus{{ID: "router-1", Epochs: map[string]events.Epoch{"web": epoch}}},
			Tables: []events.TableStatus{{Name: "StudT", Shards: []events.ShardStatus{
				shard("sh1", events.ReplicaReady, events.ReplicaReady), shard("sh2", events.ReplicaReady, events.ReplicaHalted),
			}}},
		}
	}
	f := func(want string, change func(*events.Status)) {
		t.Helper()
		st := whole()
		change(&st)
		if got := missingIn(st); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f("", func(*events.Status) {})
	f("", func(st *events.Status) { st.Tables = nil })
	f("agent host-2", func(st *events.Status) { st.Hosts[1].State = events.Suspect })
	f("agent host-3", func(st *events.Status) { st.Hosts = st.Hosts[:2] })
	f("a service", func(st *events.Status) { st.Services = nil })
	f("replicas of web", func(st *events.Status) { st.Services[0].Serving = 2 })
	f("the router", func(st *events.Status) { st.Services[0].Epoch.Revision++ })
	for _, state := range []string{events.Pending, events.ReplicaOpening, events.ReplicaWaiting, events.ReplicaCopying, events.ReplicaCatchingUp} {
		f("shard StudT.sh2, which is "+state+" on Server0", func(st *events.Status) { st.Tables[0].Shards[1].Replicas[1].State = state })
	}
}
