package database

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

// Tables are those that are served, by name.
func (d *Database) Tables() []TableView {
	all := d.tables.Load().all
	views := make([]TableView, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		t := all[name]
		view := TableView{Table: name, Epoch: t.epoch, Shards: []ShardView{}}
		for _, s := range t.shards {
			view.Shards = append(view.Shards, s.view(time.Now()))
		}
		views = append(views, view)
	}
	return views
}

func (s *shard) view(now time.Time) ShardView {
	v := ShardView{
		Shard: s.ID, Low: s.Low, Size: s.Size, Incarnation: s.log.Incarnation,
		MinSeq: s.minSeq.seq.Load(), MinSeqKnown: s.minSeq.whole.Load(), Responder: s.responder, Replicas: []ReplicaView{},
	}
	if err := s.minSeq.pending(); err != nil {
		v.MinSeqError = err.Error()
	}
	for _, name := range slices.Sorted(maps.Keys(s.replicas)) {
		r := s.replicas[name]
		v.Replicas = append(v.Replicas, ReplicaView{
			Server: name, Address: r.peer.address, Ready: slices.Contains(s.ready, r),
			Seen: r.seen.Load(), Avoided: r.avoid.Load() > now.UnixNano(),
		})
	}
	return v
}
