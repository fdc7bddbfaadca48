package route

import (
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// chooseResponders names the replica of each shard that commits at once. It stays
// while it is ready and not stuck; else it is the one that is ahead, and among
// equals the one whose server has the fewest such tasks. Then tasks go one by one from a
// server to another that has at least two fewer: the first to be ready, or to
// be left, would keep them all.
func chooseResponders(s *cluster.State, table string, was map[string]events.ShardRoute, shards []events.ShardRoute, now time.Time) {
	tasks := map[string]int{}
	for i := range shards {
		if old, ok := was[shards[i].Shard]; ok && cluster.IsReady(shards[i], old.Responder) && !cluster.Stalled(s, old.Responder, table, old.Shard, now) {
			shards[i].Responder = old.Responder
			tasks[old.Responder]++
		}
	}
	for i := range shards {
		if shards[i].Responder != "" {
			continue
		}
		var ahead uint64
		for _, r := range shards[i].Replicas {
			if !r.Ready {
				continue
			}
			st, _ := s.Reported(r.Server, table, shards[i].Shard)
			best := shards[i].Responder
			if best == "" || st.Applied.Seq > ahead || st.Applied.Seq == ahead && tasks[r.Server] < tasks[best] {
				shards[i].Responder, ahead = r.Server, st.Applied.Seq
			}
		}
		tasks[shards[i].Responder]++
	}
	for i := range shards {
		at, _ := s.Reported(shards[i].Responder, table, shards[i].Shard)
		for _, r := range shards[i].Replicas {
			st, fresh := s.Reported(r.Server, table, shards[i].Shard)
			if r.Ready && fresh && st.Applied.Seq >= at.Applied.Seq && tasks[r.Server]+1 < tasks[shards[i].Responder] {
				tasks[shards[i].Responder]--
				tasks[r.Server]++
				shards[i].Responder = r.Server
			}
		}
	}
}
