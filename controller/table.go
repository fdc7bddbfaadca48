package controller

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"ringway/events"
)

// shardServer is a shard server as heard in this term. beat is nil for one
// that is known only by what is stored.
type shardServer struct {
	heartbeat    *events.ShardHeartbeat
	seen         time.Time
	silent       bool                 // so long that it is doubted
	former       string               // incarnation of the life before, of which a late heartbeat says nothing of this one
	stalledSince map[string]time.Time // replicas that stay where they are, by "table.shard": since another one is known to be ahead
}

// assumeServers counts every shard server that is wanted as just seen, and
// every host that keeps a volume.
func (s *state) assumeServers(now time.Time) {
	for _, db := range s.tables {
		for _, srv := range db.value.Servers {
			s.servers[srv.Name] = &shardServer{seen: now}
			if _, ok := s.hosts[srv.Host]; !ok && srv.Host != "" {
				s.hosts[srv.Host] = &host{name: srv.Host, seen: now, state: events.Alive}
				s.published[srv.Host] = true
			}
		}
	}
}

// heartbeat of a shard server.
func (s *state) observeServer(b events.ShardHeartbeat, now time.Time) (effects []effect) {
	srv := s.servers[b.Server]
	if srv == nil {
		srv = &shardServer{}
		s.servers[b.Server] = srv
	}
	before := srv.heartbeat
	if srv.former != "" && srv.former == b.Incarnation {
		return nil
	}
	if before != nil && before.Incarnation == b.Incarnation {
		if late := before.Sent.Sub(b.Sent); late > 0 && late < s.cfg.SuspectAfter { // overtaken on the way
			return nil
		}
	}
	srv.heartbeat, srv.seen, srv.silent = &b, now, false
	if effects := s.epochRollback("shard server "+b.Server, nil, b.Epochs, now); effects != nil {
		return effects
	}
	stalledSince := srv.stalledSince
	srv.stalledSince = map[string]time.Time{}
	for _, r := range b.Replicas {
		var was events.ReplicaStatus
		if before != nil {
			was, _ = before.Replica(r.Table, r.Shard)
		}
		if was.Applied == r.Applied && s.peersAhead(r) {
			key := r.Table + "." + r.Shard
			if srv.stalledSince[key] = stalledSince[key]; stalledSince[key].IsZero() {
				srv.stalledSince[key] = now
			}
		}
		effects = append(effects, s.stateEvents(now, b.Server, was.State, r)...)
	}
	return effects
}

// peersAhead reports whether a replica in rotation has applied more than this one.
func (s *state) peersAhead(this events.ReplicaStatus) bool {
	have, ok := s.tableRoutes[this.Table]
	if !ok {
		return false
	}
	shard, _ := have.value.Shard(this.Shard)
	return slices.ContainsFunc(shard.Replicas, func(r events.ShardReplica) bool {
		other, _ := s.reported(r.Server, this.Table, this.Shard)
		return r.Ready && other.Applied.Incarnation == this.Applied.Incarnation && other.Applied.Seq > this.Applied.Seq
	})
}

// stalled reports whether a replica has stayed behind for so long that its
// database must hang, though its shard server is heard.
func (s *state) stalled(server, table, shard string, now time.Time) bool {
	srv := s.servers[server]
	if srv == nil {
		return false
	}
	since, behind := srv.stalledSince[table+"."+shard]
	return behind && now.Sub(since) >= s.cfg.SuspectAfter
}

// stateEvents tells what a shard server says of a replica, when it changes.
func (s *state) stateEvents(now time.Time, server, was string, r events.ReplicaStatus) []effect {
	verb := map[string]string{
		events.ReplicaCopying: events.VerbFilling, events.ReplicaQuarantined: events.VerbQuarantined, events.ReplicaHalted: events.VerbHalted,
	}[r.State]
	if r.State == events.ReplicaReady && (was == events.ReplicaCopying || was == events.ReplicaCatchingUp || was == events.ReplicaWaiting) {
		verb = events.VerbFilled
	}
	if verb == "" || was == r.State {
		return nil
	}
	return s.emit(now, events.EntityShard, verb, r.Table+"."+r.Shard, map[string]any{
		"server": server, "applied_seq": r.Applied.Seq, "log": r.Applied.Incarnation, "reason": orElse(r.Detail, r.State),
	})
}

// expireServers notices shard servers that have fallen silent. It is called
// only while the leader hears.
func (s *state) expireServers(now time.Time) {
	for name, srv := range s.servers {
		silent := s.silence(srv.seen, now)
		srv.silent = silent >= s.cfg.SuspectAfter
		if silent >= s.cfg.LostAfter && !s.serverWanted(name) {
			delete(s.servers, name)
		}
	}
}

// reported is what a shard server last said of a replica; fresh if it is not silent.
func (s *state) reported(server, table, shard string) (r events.ReplicaStatus, fresh bool) {
	srv := s.servers[server]
	if srv == nil || srv.heartbeat == nil {
		return r, false
	}
	r, ok := srv.heartbeat.Replica(table, shard)
	return r, ok && !srv.silent
}

func (s *state) serverWanted(name string) bool {
	for _, db := range s.tables {
		if _, ok := serverOf(db.value, name); ok {
			return true
		}
	}
	return false
}

// serverTaken: a shard server of any table has the name, or one still speaks
// under it.
func (s *state) serverTaken(name string) bool {
	srv, ok := s.servers[name]
	return ok && srv.heartbeat != nil || s.serverWanted(name)
}

// hasVolume reports whether the data of a shard server that is wanted lies
// on a host.
func (s *state) hasVolume(host string) bool {
	for _, db := range s.tables {
		for _, srv := range db.value.Servers {
			if srv.Host == host || srv.Was != nil && srv.Was.Host == host {
				return true
			}
		}
	}
	return false
}

func serverOf(db events.Database, name string) (events.ShardServer, bool) {
	i := slices.IndexFunc(db.Servers, func(s events.ShardServer) bool { return s.Name == name })
	if i < 0 {
		return events.ShardServer{}, false
	}
	return db.Servers[i], true
}

// wantedAt reports whether an instance is a server of the table on this host, and
// shall go on running.
func wantedAt(db events.Database, name, host string) bool {
	srv, ok := serverOf(db, name)
	return ok && srv.Host == host && !srv.Stopping()
}

// serversOf lists the servers that shall keep a shard.
func serversOf(db events.Database, shard string) (found []events.ShardServer) {
	for _, srv := range db.Servers {
		if slices.Contains(srv.Shards, shard) {
			found = append(found, srv)
		}
	}
	return found
}

// serversByShard lists the servers that shall keep each shard.
func serversByShard(db events.Database) map[string][]events.ShardServer {
	kept := map[string][]events.ShardServer{}
	for _, srv := range db.Servers {
		for _, id := range srv.Shards {
			kept[id] = append(kept[id], srv)
		}
	}
	return kept
}

func logsOf(db events.Database) map[string]events.ShardLog {
	logs := map[string]events.ShardLog{}
	for _, l := range db.Logs {
		logs[l.Shard] = l
	}
	return logs
}

// cloneTable is a copy of a table whose lists can be changed.
func cloneTable(db events.Database) events.Database {
	db.Table.Shards, db.Logs, db.Servers = slices.Clone(db.Table.Shards), slices.Clone(db.Logs), slices.Clone(db.Servers)
	return db
}

// freshServer is Server<five digits>, used by nobody.
func (s *state) freshServer(except ...string) string {
	for {
		name := fmt.Sprintf("Server%d", 10000+s.rng.IntN(90000))
		if !s.nameTaken(events.Service{}, name) && !slices.Contains(except, name) {
			return name
		}
	}
}

// freshVolume names a data directory. No other ever had this name, on any bus:
// what lies there would be taken for this server's.
func freshVolume() string { return "vol-" + strings.ToLower(rand.Text()[:16]) }

func freeServerID(servers []events.ShardServer) int {
	for id := 1; ; id++ {
		if !slices.ContainsFunc(servers, func(s events.ShardServer) bool { return s.ID == id }) {
			return id
		}
	}
}

func orElse(s, other string) string {
	if s != "" {
		return s
	}
	return other
}
