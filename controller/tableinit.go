package controller

import (
	"cmp"
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"time"

	"ringway/events"
)

// Engines that a shard server can be told to use.
var engines = []string{"", "auto", "mysql", "sqlite"}

func initTable(req events.InitRequest) *tableRequest {
	req.ID = cmp.Or(req.ID, rand.Text())
	return &tableRequest{
		begin: func(s *state, r *tableRequest, now time.Time) ([]effect, error) { return s.makeTable(r, req, "", now) },
		reply: (*state).serversReply,
	}
}

func tableName(req events.InitRequest) string { return cmp.Or(req.Table.Name, events.DefaultTable) }

// makeTable turns a request into a new table, or refuses it.
func (s *state) makeTable(r *tableRequest, req events.InitRequest, configured string, now time.Time) ([]effect, error) {
	name := tableName(req)
	req.Table.Name, r.table = name, name
	if have, ok := s.tables[name]; ok {
		if a, ok := previousAnswer(have.value, req.ID); ok {
			r.id = a.Request
			return nil, nil
		}
	}
	if err := s.checkInit(req); err != nil {
		return nil, err
	}
	db := events.Database{Table: req.Table, ServerSpec: events.ServerSpec{Engine: req.Engine}, ConfigHash: configured}
	db.Table.Shards = slices.Clone(db.Table.Shards)
	db.Table.Sort()
	var given [][]string
	for i := range req.N {
		if i < len(req.Servers) {
			given = append(given, req.Servers[i].Shards)
		} else {
			given = append(given, nil)
		}
	}
	placed := layout(shardIDs(db.Table.Shards), given, cmp.Or(req.Replicas, events.DefaultShardReplicas))
	if err := checkSize(placed); err != nil {
		return nil, err
	}
	for _, sh := range db.Table.Shards {
		db.Logs = append(db.Logs, events.ShardLog{Shard: sh.ID, Incarnation: rand.Text()})
	}
	added := s.appendServers(&db, req.ID, req.Servers, placed)
	r.id = req.ID
	s.rememberAnswer(&db, events.Answered{Request: req.ID, Added: added})
	db.Decision = s.because(s.event(now, events.EntityTable, events.VerbCreated, name, map[string]any{
		"reason": orElse(reason(req.ID), "configuration"), "servers": added, "shards": len(db.Logs), "replicas": countAll(placed),
	}))
	return []effect{putTable{value: db}}, nil
}

func reason(request string) string {
	if request == "" {
		return ""
	}
	return "request " + request
}

// appendServers adds servers that keep what is placed, the named ones under their names.
func (s *state) appendServers(db *events.Database, request string, named []events.Placement, placed [][]string) (added []string) {
	var given []string
	for _, p := range named {
		given = append(given, p.Name)
	}
	for i, shards := range placed {
		var name string
		if i < len(named) && !anyName(named[i].Name) {
			name = named[i].Name
		} else {
			name = s.freshServer(append(slices.Clone(given), added...)...)
		}
		db.Servers = append(db.Servers, events.ShardServer{Name: name, ID: freeServerID(db.Servers), Request: request, Shards: shards, Volume: freshVolume()})
		added = append(added, name)
	}
	return added
}

// anyName reports whether a name asks for a random one: Server[…].
func anyName(name string) bool { return name == "" || strings.ContainsAny(name, "[]") }

func (s *state) checkInit(req events.InitRequest) error {
	name := req.Table.Name
	if err := checkID(req.ID); err != nil {
		return err
	}
	for other := range s.tables {
		if strings.EqualFold(other, name) {
			return events.StatusErrorf(http.StatusConflict, "table '%s' is configured already", other)
		}
	}
	if _, ok := s.services[name]; ok || s.undecodable[name] {
		return events.StatusErrorf(http.StatusConflict, "table: a service is called '%s' already", name)
	}
	if s.undecodableTables[name] {
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
	if err := s.checkPlacements(req.Table, req.Servers); err != nil {
		return err
	}
	for _, h := range s.alive() {
		for _, i := range s.hosts[h].heartbeat.Instances {
			if isOrphan(i) && i.Service == name {
				return events.StatusErrorf(http.StatusConflict, "%s", errOrphans)
			}
		}
	}
	return nil
}

// checkPlacements refuses names that cannot be given and shards that are not
// in the table.
func (s *state) checkPlacements(t events.Table, placements []events.Placement) error {
	seen := map[string]bool{}
	for _, p := range placements {
		if !anyName(p.Name) {
			if err := events.ValidName(p.Name); err != nil {
				return events.StatusErrorf(http.StatusBadRequest, "servers: %s", err)
			}
			if seen[p.Name] {
				return events.StatusErrorf(http.StatusBadRequest, "servers: '%s' is listed twice", p.Name)
			}
			if s.nameTaken(events.Service{}, p.Name) {
				return events.StatusErrorf(http.StatusBadRequest, "servers: '%s' is already in use", p.Name)
			}
			seen[p.Name] = true
		}
		for i, id := range p.Shards {
			if _, ok := t.Shard(id); !ok {
				return events.StatusErrorf(http.StatusBadRequest, "servers: %s: shard '%.63s' is not defined", orElse(p.Name, "a server"), id)
			}
			if slices.Contains(p.Shards[:i], id) {
				return events.StatusErrorf(http.StatusBadRequest, "servers: %s: shard '%s' is listed twice", orElse(p.Name, "a server"), id)
			}
		}
	}
	return nil
}

func checkSize(placed [][]string) error {
	if n := countAll(placed); n > events.MaxReplicas {
		return events.StatusErrorf(http.StatusBadRequest, "%d replicas are too many; a table can have at most %d", n, events.MaxReplicas)
	}
	return nil
}

func shardIDs(shards []events.Shard) (ids []string) {
	for _, s := range shards {
		ids = append(ids, s.ID)
	}
	return ids
}

func countAll(placed [][]string) (n int) {
	for _, ids := range placed {
		n += len(ids)
	}
	return n
}
