package catalog

import (
	"maps"
	"slices"
	"time"

	"ringway/events"
)

// TableView is one table of the snapshot, for people.
type TableView struct {
	Table  string       `json:"table"`
	Epoch  events.Epoch `json:"epoch"`
	Shards []ShardView  `json:"shards"`
}

// ShardView is one shard of it.
type ShardView struct {
	Shard       string        `json:"shard"`
	Low         int64         `json:"low"`
	Size        int64         `json:"size"`
	Incarnation string        `json:"incarnation"` // of its log
	MinSeq      uint64        `json:"floor"`       // what reads have to see
	MinSeqKnown bool          `json:"floor_known"` // all that was acknowledged is in it
	MinSeqError string        `json:"floor_doubt,omitempty"`
	Responder   string        `json:"eager,omitempty"`
	Replicas    []ReplicaView `json:"replicas"`
}

// ReplicaView is one copy that can be reached.
type ReplicaView struct {
	Server  string `json:"server"`
	Address string `json:"address"`
	Ready   bool   `json:"ready"`
	Seen    uint64 `json:"seen_seq"` // what it is known to have applied
	Avoided bool   `json:"avoided"`  // it failed a moment ago
}

// Views are the tables that are served, by name.
func (c *Catalog) Views() []TableView {
	all := c.Tables().all
	views := make([]TableView, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		t := all[name]
		view := TableView{Table: name, Epoch: t.Epoch, Shards: []ShardView{}}
		for _, s := range t.Shards {
			view.Shards = append(view.Shards, s.view(time.Now()))
		}
		views = append(views, view)
	}
	return views
}

func (s *Shard) view(now time.Time) ShardView {
	v := ShardView{
		Shard: s.ID, Low: s.Low, Size: s.Size, Incarnation: s.Log.Incarnation,
		MinSeq: s.MinSeq.Seq(), MinSeqKnown: s.MinSeq.Complete(), Responder: s.Responder, Replicas: []ReplicaView{},
	}
	if err := s.MinSeq.Incomplete(); err != nil {
		v.MinSeqError = err.Error()
	}
	for _, name := range slices.Sorted(maps.Keys(s.Replicas)) {
		r := s.Replicas[name]
		v.Replicas = append(v.Replicas, ReplicaView{
			Server: name, Address: r.Client.Address(), Ready: slices.Contains(s.ready, r),
			Seen: r.seen.Load(), Avoided: r.avoid.Load() > now.UnixNano(),
		})
	}
	return v
}
