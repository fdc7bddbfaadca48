package route

import (
	"reflect"
	"slices"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// onlyReachabilityChanged reports whether nothing is new but that servers have a
// host, or can be reached, or no longer: there are other events of that.
func onlyReachabilityChanged(was, next events.TableRoute) bool {
	next.Servers = slices.Clone(next.Servers)
	for i := range next.Servers {
		line := &next.Servers[i]
		old, known := was.Server(line.Name)
		if known && (old.Address == "" || line.Address == "") {
			line.Address = old.Address
		}
		if known && old.Host == "" {
			line.Host = ""
		}
	}
	return Same(was, next)
}

// changes are the events of replicas that came and went, and of new responders.
func changes(s *cluster.State, now time.Time, have *cluster.Stored[events.TableRoute], next events.TableRoute) []events.Event {
	var was events.TableRoute
	if have != nil {
		was = have.Value
		if onlyReachabilityChanged(was, next) {
			return nil
		}
	}
	db := s.Tables[next.Table.Name].Value
	total, serving := 0, 0
	var list []events.Event
	for _, sh := range next.Shards {
		old, _ := was.Shard(sh.Shard)
		add := func(verb, server, why string) {
			list = append(list, s.Event(now, events.EntityShard, verb, next.Table.Name+"."+sh.Shard, map[string]any{"server": server, "reason": why}))
		}
		for _, r := range sh.Replicas {
			total++
			if r.Ready {
				serving++
			}
			switch before := cluster.IsReady(old, r.Server); {
			case r.Ready && !before:
				add(events.VerbReady, r.Server, "it is level with the log")
			case !r.Ready && before:
				srv, _ := cluster.ServerOf(db, r.Server)
				_, why := cluster.HealthOf(s, srv, next.Table.Name, sh.Log, old)
				add(events.VerbUnready, r.Server, why)
			}
		}
		for _, r := range old.Replicas {
			if r.Ready && !slices.ContainsFunc(sh.Replicas, func(n events.ShardReplica) bool { return n.Server == r.Server }) {
				add(events.VerbUnready, r.Server, "it is replaced or removed")
			}
		}
		if sh.Responder != old.Responder {
			why := "no replica was ready just before"
			switch {
			case old.Shard == "":
				why = "it is ready in the first route of the shard"
			case sh.Responder == "":
				why = "no replica is ready"
			case cluster.Stalled(s, old.Responder, next.Table.Name, sh.Shard, now):
				why = old.Responder + " stays where it is while others go on"
			case cluster.IsReady(sh, old.Responder):
				why = old.Responder + " does so for more shards"
			case old.Responder != "":
				why = old.Responder + " is no longer ready"
			}
			add(events.VerbResponder, sh.Responder, why)
		}
	}
	changed := s.Event(now, events.EntityRoute, events.VerbChanged, next.Table.Name, map[string]any{
		"table": next.Table.Name, "servers": len(next.Servers), "replicas": total, "ready": serving,
	})
	return append([]events.Event{changed}, list...)
}

func Same(a, b events.TableRoute) bool {
	a.Decision, b.Decision = events.Decision{}, events.Decision{}
	return reflect.DeepEqual(a, b)
}
