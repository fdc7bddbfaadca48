package route

import (
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// chooseResponders names the responder of each shard: the replica that commits at
// once and answers writers, while the others may gather batches. A change costs
// writers a retry, so a responder stays while it is ready and not stalled. A
// shard without one gets the ready replica that has applied most, for it has the
// least left to apply before it can answer; among equals, the one whose server
// is the responder of the fewest shards. Finally the load is balanced: as long
// as another replica has applied as much and its server is the responder of at
// least two shards fewer, the task moves there. Without that the first server to
// become ready would keep all tasks. Two instead of one, so that nothing moves
// back and forth.
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
