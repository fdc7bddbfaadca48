package cluster

import (
	"cmp"
	"slices"

	"ringway/events"
)

// IsWanted reports whether an instance shall run: as a replica, or to follow one.
func IsWanted(svc events.Service, instance string) bool {
	return slices.ContainsFunc(svc.Replicas, func(r events.Replica) bool { return r.Name == instance || r.Next == instance })
}

func IsReplica(svc events.Service, instance string) bool {
	return slices.ContainsFunc(svc.Replicas, func(r events.Replica) bool { return r.Name == instance })
}

func ByID(a, b events.Replica) int { return cmp.Compare(a.ID, b.ID) }

func ByServerID(a, b events.ShardServer) int { return cmp.Compare(a.ID, b.ID) }

// FreeID is the smallest positive integer that is nobody's id.
func FreeID[T any](all []T, id func(T) int) int {
	for free := 1; ; free++ {
		if !slices.ContainsFunc(all, func(one T) bool { return id(one) == free }) {
			return free
		}
	}
}

func ServerOf(db events.Database, name string) (events.ShardServer, bool) {
	i := slices.IndexFunc(db.Servers, func(s events.ShardServer) bool { return s.Name == name })
	if i < 0 {
		return events.ShardServer{}, false
	}
	return db.Servers[i], true
}

// WantedAt reports whether an instance is a server of the table on this host, and
// shall go on running.
func WantedAt(db events.Database, name, host string) bool {
	srv, ok := ServerOf(db, name)
	return ok && srv.Host == host && !srv.Stopping()
}

// ServersOf lists the servers that shall keep a shard.
func ServersOf(db events.Database, shard string) (found []events.ShardServer) {
	for _, srv := range db.Servers {
		if slices.Contains(srv.Shards, shard) {
			found = append(found, srv)
		}
	}
	return found
}

// CloneTable is a copy of a table whose lists can be changed.
func CloneTable(db events.Database) events.Database {
	db.Table.Shards, db.Logs, db.Servers = slices.Clone(db.Table.Shards), slices.Clone(db.Logs), slices.Clone(db.Servers)
	return db
}

// ReadyIn reports whether a replica is ready in a route; log "" is any.
func ReadyIn(route events.TableRoute, server, shard, log string) bool {
	sh, ok := route.Shard(shard)
	return ok && (log == "" || sh.Log.Incarnation == log) && IsReady(sh, server)
}

func IsReady(sh events.ShardRoute, server string) bool {
	return slices.ContainsFunc(sh.Replicas, func(r events.ShardReplica) bool { return r.Server == server && r.Ready })
}
