package tables

import (
	"cmp"
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"time"

	"ringway/controller/cluster"
	"ringway/controller/tables/placement"
	"ringway/events"
)

// Engines that a shard server can use.
var engines = []string{"", "auto", "mysql", "sqlite"}

func initTable(s *cluster.State, r *Request, req events.InitRequest, now time.Time) ([]cluster.Effect, error) {
	req.ID = cmp.Or(req.ID, rand.Text())
	return makeTable(s, r, req, "", now)
}

func tableName(req events.InitRequest) string { return cmp.Or(req.Table.Name, events.DefaultTable) }

// makeTable creates a table as requested, or refuses it.
func makeTable(s *cluster.State, r *Request, req events.InitRequest, configured string, now time.Time) ([]cluster.Effect, error) {
	name := tableName(req)
	req.Table.Name, r.table = name, name
	if have, ok := s.Tables[name]; ok {
		if a, ok := cluster.PreviousAnswer(have.Value.Answered, req.ID); ok {
			r.id = a.Request
			return nil, nil
		}
	}
	if err := checkInit(s, req, now.Before(r.deadline)); err != nil {
		return nil, err
	}
	db := events.Database{Table: req.Table, ServerSpec: events.ServerSpec{Engine: req.Engine}, ConfigHash: configured}
	db.Table.Shards = slices.Clone(db.Table.Shards)
	db.Table.Sort()
	given := make([][]string, req.N)
	for i, p := range req.Servers {
		given[i] = p.Shards
	}
	placed := placement.Layout(shardIDs(db.Table.Shards), given, cmp.Or(req.Replicas, events.DefaultShardReplicas))
	if err := checkSize(placed); err != nil {
		return nil, err
	}
	for _, sh := range db.Table.Shards {
		db.Logs = append(db.Logs, events.ShardLog{Shard: sh.ID, Incarnation: rand.Text()})
	}
	added := appendServers(s, &db, req.ID, req.Servers, placed)
	r.id = req.ID
	db.Answered = cluster.RememberAnswer(db.Answered, events.Answered{Request: req.ID, Added: added}, s.Cfg.RememberedRequests)
	db.Decision = s.Because(s.Event(now, events.EntityTable, events.VerbCreated, name, map[string]any{
		"reason": cmp.Or(reason(req.ID), "configuration"), "servers": added, "shards": len(db.Logs), "replicas": countAll(placed),
	}))
	if err := cluster.CheckStorable("table '"+db.Table.Name+"'", db); err != nil {
		return nil, err
	}
	return []cluster.Effect{cluster.PutTable{Value: db}}, nil
}

func checkInit(s *cluster.State, req events.InitRequest, mayWait bool) error {
	name := req.Table.Name
	if err := cluster.CheckID(req.ID); err != nil {
		return err
	}
	for other := range s.Tables {
		if strings.EqualFold(other, name) {
			return events.StatusErrorf(http.StatusConflict, "table '%s' is configured already", other)
		}
	}
	if _, ok := s.Services[name]; ok || s.Undecodable[name] {
		return events.StatusErrorf(http.StatusConflict, "table: a service is called '%s' already", name)
	}
	if s.UndecodableTables[name] {
		return events.StatusErrorf(http.StatusConflict, "what was asked for table '%s' before cannot be read; nothing is made in its place", name)
	}
	if err := req.Table.Validate(); err != nil {
		return err
	}
	if err := req.Table.Schema.Callable(); err != nil {
		return err
	}
	switch {
	case req.N <= 0:
		return events.StatusErrorf(http.StatusBadRequest, "N is %d; it must be at least 1", req.N)
	case req.N > events.MaxShardServers:
		return events.StatusErrorf(http.StatusBadRequest, "N is %d; a table can have at most %d servers", req.N, events.MaxShardServers)
	case len(req.Servers) > req.N:
		return events.StatusErrorf(http.StatusBadRequest, "servers: %d are placed, but N is %d", len(req.Servers), req.N)
	case req.Replicas < 0:
		return events.StatusErrorf(http.StatusBadRequest, "replicas: %d is negative", req.Replicas)
	case !slices.Contains(engines, req.Engine):
		return events.StatusErrorf(http.StatusBadRequest, "engine: '%s' is unknown; use auto, mysql or sqlite", req.Engine)
	}
	if err := checkShardNames(req.Table.Shards); err != nil {
		return err
	}
	for _, h := range s.Alive() {
		for _, i := range s.Hosts[h].Heartbeat.Instances {
			if isOrphan(i) && i.Service == name {
				return events.StatusErrorf(http.StatusConflict, "%s", errOrphans)
			}
		}
	}
	return checkPlacements(s, req.Table, req.Servers, mayWait)
}

func isOrphan(i events.InstanceStatus) bool {
	return i.Kind == events.KindShard && i.State != events.Dead && i.State != events.Stopping
}
