package placement

import (
	"maps"
	"slices"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// ReplaceServers gives the place of a dead shard server to a new one, with its
// shards and its data.
func ReplaceServers(s *cluster.State, now time.Time) (effects []cluster.Effect) {
	for _, name := range slices.Sorted(maps.Keys(s.Tables)) {
		db := cluster.CloneTable(s.Tables[name].Value)
		var cause []events.Event
		for i, old := range db.Servers {
			why := ServerFailed(s, old, now)
			place := cluster.ReplicaKey{Service: name, ID: old.ID}
			// One that is renewed comes back under its name.
			if why == "" || old.Renewal != nil || !s.MayReplace(place, now) {
				continue
			}
			loops := s.RecordFailure(place, false, now) // its health endpoint answers long before it can serve
			db.Servers[i].Name = cluster.FreshServer(s)
			about := map[string]any{"table": name, "id": old.ID, "host": old.Host, "volume": old.Volume, "reason": why}
			cause = append(cause, s.Event(now, events.EntityInstance, events.VerbDied, old.Name, about))
			about["by"] = db.Servers[i].Name
			cause = append(cause, s.Event(now, events.EntityInstance, events.VerbReplaced, old.Name, about))
			if loops != "" {
				cause = append(cause, s.Event(now, events.EntityInstance, events.VerbLooping, db.Servers[i].Name, map[string]any{"table": name, "id": old.ID, "reason": loops + "; the last one: " + why}))
			}
		}
		if len(cause) > 0 {
			db.Decision = s.Because(cause...)
			effects = append(effects, cluster.PutTable{Value: db})
		}
	}
	return effects
}

// ServerFailed is why a shard server has to be replaced where it is, if it has to.
func ServerFailed(s *cluster.State, srv events.ShardServer, now time.Time) string {
	h := s.Hosts[srv.Host]
	if !s.AssignedHome(srv) || h == nil || h.State == events.Lost {
		return ""
	}
	return s.Failure(h, srv.Name, now)
}
