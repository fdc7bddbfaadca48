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

func initTable(ask events.InitRequest) *tableRequest {
	ask.ID = cmp.Or(ask.ID, rand.Text())
	return &tableRequest{
		begin: func(s *state, r *tableRequest, now time.Time) ([]effect, error) { return s.makeTable(r, ask, "", now) },
		reply: (*state).serversReply,
	}
}

func tableName(ask events.InitRequest) string { return cmp.Or(ask.Table.Name, events.DefaultTable) }

// makeTable turns a request into a new table, or refuses it.
func (s *state) makeTable(r *tableRequest, ask events.InitRequest, configured string, now time.Time) ([]effect, error) {
	name := tableName(ask)
	ask.Table.Name, r.table = name, name
	if have, ok := s.tables[name]; ok {
		if a, ok := answered(have.value, ask.ID); ok {
			r.id = a.Request
			return nil, nil
		}
	}
	if err := s.checkInit(ask); err != nil {
		return nil, err
	}
	db := events.Database{Table: ask.Table, ServerSpec: events.ServerSpec{Engine: ask.Engine}, ConfigHash: configured}
	db.Table.Shards = slices.Clone(db.Table.Shards)
	db.Table.Sort()
	var given [][]string
	for i := range ask.N {
		if i < len(ask.Servers) {
			given = append(given, ask.Servers[i].Shards)
		} else {
			given = append(given, nil)
		}
	}
	placed := layout(shardIDs(db.Table.Shards), given, cmp.Or(ask.Replicas, events.DefaultShardReplicas))
	if err := checkSize(placed); err != nil {
		return nil, err
	}
	for _, sh := range db.Table.Shards {
		db.Logs = append(db.Logs, events.ShardLog{Shard: sh.ID, Incarnation: rand.Text()})
	}
	added := s.hire(&db, ask.ID, ask.Servers, placed)
	r.id = ask.ID
	s.remember(&db, events.Answered{Request: ask.ID, Added: added})
	db.Decision = s.because(s.event(now, events.EntityTable, events.VerbCreated, name, map[string]any{
		"reason": orElse(reason(ask.ID), "configuration"), "servers": added, "shards": len(db.Logs), "replicas": countAll(placed),
	}))
	return []effect{putTable{db}}, nil
}

func reason(request string) string {
	if request == "" {
		return ""
	}
	return "request " + request
}

// hire adds servers that keep what is placed, the named ones under their names.
func (s *state) hire(db *events.Database, request string, named []events.Placement, placed [][]string) (added []string) {
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

func (s *state) checkInit(ask events.InitRequest) error {
	name := ask.Table.Name
	if err := checkID(ask.ID); err != nil {
		return err
	}
	for other := range s.tables {
		if strings.EqualFold(other, name) {
			return events.StatusErrorf(http.StatusConflict, "table '%s' is configured already", other)
		}
	}
	if _, ok := s.services[name]; ok || s.torn[name] {
		return events.StatusErrorf(http.StatusConflict, "table: a service is called '%s' already", name)
	}
	if s.tornTables[name] {
		return events.StatusErrorf(http.StatusConflict, "what was asked for table '%s' before cannot be read; nothing is made in its place", name)
	}
	if err := ask.Table.Validate(); err != nil {
		return err
	}
	if err := ask.Table.Schema.Callable(); err != nil {
		return err
	}
	switch {
	case ask.N <= 0:
		return events.StatusErrorf(http.StatusBadRequest, "N is %d; it must be at least 1", ask.N)
	case ask.N > events.MaxShardServers:
		return events.StatusErrorf(http.StatusBadRequest, "N is %d; a table can have at most %d servers", ask.N, events.MaxShardServers)
	case len(ask.Servers) > ask.N:
		return events.StatusErrorf(http.StatusBadRequest, "servers: %d are placed, but N is %d", len(ask.Servers), ask.N)
	case ask.Replicas < 0:
		return events.StatusErrorf(http.StatusBadRequest, "replicas: %d is negative", ask.Replicas)
	case !slices.Contains(engines, ask.Engine):
		return events.StatusErrorf(http.StatusBadRequest, "engine: '%s' is unknown; use auto, mysql or sqlite", ask.Engine)
	}
	if err := s.checkPlacements(ask.Table, ask.Servers); err != nil {
		return err
	}
	for _, h := range s.alive() {
		for _, i := range s.hosts[h].beat.Instances {
			if stray(i) && i.Service == name {
				return events.StatusErrorf(http.StatusConflict, "%s", errStrays)
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
