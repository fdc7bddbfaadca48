package replica

import (
	"ringway/events"
)

// Key names a shard.
type Key struct{ Table, Shard string }

// Target is what a route wants of one replica.
type Target struct {
	Spec      events.ShardSpec
	Log       events.ShardLog
	Responder bool
	donors    []peer // ready replicas on other servers
	others    []peer // replicas on other servers that are not ready
}

// peer is the replica of the same shard on another server.
type peer struct{ server, address string }

// TargetOf is what a route wants of the replica of a shard on server; ok is false
// if it wants none there.
func TargetOf(route *events.TableRoute, shard events.ShardRoute, server string) (t Target, ok bool) {
	spec, _ := route.Spec(shard.Shard) // a decoded route has it
	t = Target{Spec: spec, Log: shard.Log, Responder: shard.Responder == server}
	for _, r := range shard.Replicas {
		other, _ := route.Server(r.Server)
		switch {
		case r.Server == server:
			ok = true
		case other.Address == "":
		case r.Ready:
			t.donors = append(t.donors, peer{r.Server, other.Address})
		default:
			t.others = append(t.others, peer{r.Server, other.Address})
		}
	}
	return t, ok
}

// LogID is the log that the replica follows.
func (t *Target) LogID() events.LogID {
	return events.LogID{Table: t.Spec.Table, Shard: t.Spec.Shard.ID, Incarnation: t.Log.Incarnation}
}

// key names the shard.
func (t *Target) key() Key { return Key{t.Spec.Table, t.Spec.Shard.ID} }

// sameReplica reports whether a step towards t is also one towards u.
func (t *Target) sameReplica(u *Target) bool {
	origin := func(l *events.ShardLog) events.Position {
		if l.Origin == nil {
			return events.Position{}
		}
		return *l.Origin
	}
	return t.Log.Incarnation == u.Log.Incarnation && origin(&t.Log) == origin(&u.Log) &&
		t.Spec.Table == u.Spec.Table && t.Spec.Shard == u.Spec.Shard && t.Spec.Schema.Equal(&u.Spec.Schema)
}
