package tables

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"ringway/controller/cluster"
	"ringway/controller/tables/rollout"
	"ringway/events"
)

// Status is all that is known of the tables, for people.
func Status(s *cluster.State, now time.Time) (out []events.TableStatus) {
	for _, name := range slices.Sorted(maps.Keys(s.Tables)) {
		db := s.Tables[name].Value
		line := events.TableStatus{Name: name, Schema: db.Table.Schema, Engine: cmp.Or(db.Engine, "auto"), Servers: []events.Placement{}, Shards: []events.ShardStatus{}, Detail: rollout.Detail(s, db, now)}
		var route events.TableRoute
		if r, ok := s.TableRoutes[name]; ok {
			route, line.Epoch = r.Value, r.Version
		}
		for _, srv := range db.Servers {
			line.Servers = append(line.Servers, events.Placement{Name: srv.Name, Shards: append([]string{}, srv.Shards...)})
		}
		for _, sh := range db.Table.Shards {
			line.Shards = append(line.Shards, shardStatus(s, db, route, sh))
		}
		out = append(out, line)
	}
	return out
}

func shardStatus(s *cluster.State, db events.Database, route events.TableRoute, sh events.Shard) events.ShardStatus {
	log, _ := db.Log(sh.ID)
	at, _ := route.Shard(sh.ID)
	line := events.ShardStatus{
		Table: db.Table.Name, Shard: sh.ID, Low: sh.Low, Size: sh.Size, Incarnation: log.Incarnation, Responder: at.Responder, Replicas: []events.ReplicaReport{},
	}
	servers := slices.SortedFunc(slices.Values(cluster.ServersOf(db, sh.ID)), cluster.ByServerID)
	for _, srv := range servers {
		report := events.ReplicaReport{Server: srv.Name, Host: srv.Host, State: events.Pending}
		if reported, fresh := s.Reported(srv.Name, db.Table.Name, sh.ID); reported.State != "" {
			report.State, report.AppliedSeq, report.DurableSeq, report.Detail = reported.State, reported.Applied.Seq, reported.Durable.Seq, reported.Detail
			report.Cause = reported.Cause
			if !fresh {
				report.State, report.Detail, report.Cause = events.Silent, "it was "+reported.State+" when it was last heard", ""
			}
			if reported.Applied.Incarnation == log.Incarnation && reported.State != events.ReplicaCopying {
				line.LastSeq = max(line.LastSeq, reported.Applied.Seq)
			}
		}
		if srv.Renewal != nil {
			report.Detail = "started anew: " + srv.Renewal.Why
		}
		if srv := s.Servers[srv.Name]; report.Detail == "" && srv != nil && srv.Heartbeat != nil {
			report.Detail = srv.Heartbeat.Detail
		}
		line.Replicas = append(line.Replicas, report)
	}
	return line
}
