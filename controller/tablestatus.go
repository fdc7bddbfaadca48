package controller

import (
	"cmp"
	"slices"
	"time"

	"ringway/events"
)

// tableStatus is all that is known of the tables, for people.
func (s *state) tableStatus(now time.Time) (out []events.TableStatus) {
	for _, name := range sorted(s.tables) {
		db := s.tables[name].value
		line := events.TableStatus{Name: name, Schema: db.Table.Schema, Engine: cmp.Or(db.Engine, "auto"), Servers: []events.Placement{}, Shards: []events.ShardStatus{}, Detail: s.rolloutDetail(db, now)}
		var route events.TableRoute
		if r, ok := s.tableRoutes[name]; ok {
			route, line.Epoch = r.value, r.version
		}
		for _, srv := range db.Servers {
			line.Servers = append(line.Servers, events.Placement{Name: srv.Name, Shards: append([]string{}, srv.Shards...)})
		}
		for _, sh := range db.Table.Shards {
			line.Shards = append(line.Shards, s.shardStatus(db, route, sh))
		}
		out = append(out, line)
	}
	return out
}

func (s *state) shardStatus(db events.Database, route events.TableRoute, sh events.Shard) events.ShardStatus {
	log, _ := db.Log(sh.ID)
	at, _ := route.Shard(sh.ID)
	line := events.ShardStatus{
		Table: db.Table.Name, Shard: sh.ID, Low: sh.Low, Size: sh.Size, Incarnation: log.Incarnation, Responder: at.Responder, Replicas: []events.ReplicaReport{},
	}
	servers := slices.SortedFunc(slices.Values(serversOf(db, sh.ID)), func(a, b events.ShardServer) int { return cmp.Compare(a.ID, b.ID) })
	for _, srv := range servers {
		report := events.ReplicaReport{Server: srv.Name, Host: srv.Host, State: events.Pending}
		if reported, fresh := s.reported(srv.Name, db.Table.Name, sh.ID); reported.State != "" {
			report.State, report.AppliedSeq, report.DurableSeq, report.Detail = reported.State, reported.Applied.Seq, reported.Durable.Seq, reported.Detail
			if !fresh {
				report.State, report.Detail = events.Silent, "it was "+reported.State+" when it was last heard"
			}
			if reported.Applied.Incarnation == log.Incarnation && reported.State != events.ReplicaCopying {
				line.LastSeq = max(line.LastSeq, reported.Applied.Seq)
			}
		}
		if srv.Renewal != nil {
			report.Detail = "started anew: " + srv.Renewal.Why
		}
		if srv := s.servers[srv.Name]; report.Detail == "" && srv != nil && srv.heartbeat != nil {
			report.Detail = srv.heartbeat.Detail
		}
		line.Replicas = append(line.Replicas, report)
	}
	return line
}

// serves reports whether any replica on a shard server is ready.
func serves(route events.TableRoute, server string) bool {
	return slices.ContainsFunc(route.Shards, func(sh events.ShardRoute) bool { return isReady(sh, server) })
}
