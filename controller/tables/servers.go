package tables

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"ringway/controller/cluster"
	"ringway/controller/tables/placement"
	"ringway/events"
)

// replicaHint is the like of a name that is no server's.
func replicaHint(s *cluster.State, name string) string {
	for _, service := range slices.Sorted(maps.Keys(s.Services)) {
		if cluster.IsReplica(s.Services[service].Value, name) {
			if len(s.Services) > 1 {
				return fmt.Sprintf(" but a replica of service %s; 'ringway rm --service %[1]s %s' removes it", service, name)
			}
			return fmt.Sprintf(` but a replica of service %s; DELETE /rm {"n":1,"hostnames":[%q]} removes it`, service, name)
		}
	}
	return ""
}

// appendServers adds servers that keep what is placed, the named ones under their names.
func appendServers(s *cluster.State, db *events.Database, request string, named []events.Placement, placed [][]string) (added []string) {
	var given []string
	for _, p := range named {
		given = append(given, p.Name)
	}
	for i, shards := range placed {
		var name string
		if i < len(named) && !anyName(named[i].Name) {
			name = named[i].Name
		} else {
			name = cluster.FreshServer(s, append(slices.Clone(given), added...)...)
		}
		db.Servers = append(db.Servers, events.ShardServer{Name: name, ID: cluster.FreeID(db.Servers, func(srv events.ShardServer) int { return srv.ID }), Request: request, Shards: shards, Volume: cluster.FreshVolume()})
		added = append(added, name)
	}
	return added
}

// anyName reports whether a name stands for a random one: Server[…].
func anyName(name string) bool { return name == "" || strings.ContainsAny(name, "[]") }

// errDeferred: a name that a request gives is about to be free.
var errDeferred = errors.New("later")

// checkPlacements refuses names that cannot be given and shards that are not
// in the table.
func checkPlacements(s *cluster.State, t events.Table, placements []events.Placement, mayWait bool) error {
	seen := map[string]bool{}
	var deferred error
	for _, p := range placements {
		if !anyName(p.Name) {
			if err := events.ValidName(p.Name); err != nil {
				return events.StatusErrorf(http.StatusBadRequest, "servers: %s", err)
			}
			if seen[p.Name] {
				return events.StatusErrorf(http.StatusBadRequest, "servers: '%s' is listed twice", p.Name)
			}
			switch {
			case !cluster.NameTaken(s, events.Service{}, p.Name):
			case mayWait && cluster.NameBecomesFree(s, events.Service{}, p.Name):
				deferred = errDeferred
			default:
				return events.StatusErrorf(http.StatusBadRequest, "servers: '%s' is already in use", p.Name)
			}
			seen[p.Name] = true
		}
		for i, id := range p.Shards {
			if _, ok := t.Shard(id); !ok {
				return events.StatusErrorf(http.StatusBadRequest, "servers: %s: shard '%.63s' is not defined", cmp.Or(p.Name, "a server"), id)
			}
			if slices.Contains(p.Shards[:i], id) {
				return events.StatusErrorf(http.StatusBadRequest, "servers: %s: shard '%s' is listed twice", cmp.Or(p.Name, "a server"), id)
			}
		}
	}
	return deferred
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

// addServers gives a table more servers, and shards. What the request does not
// place goes to the new servers alone.
func addServers(s *cluster.State, r *Request, req events.ServersRequest, now time.Time) ([]cluster.Effect, error) {
	req.ID = cmp.Or(req.ID, rand.Text())
	have, err := findTable(s, req.Table)
	if err != nil {
		return nil, err
	}
	r.table = have.Table.Name
	if a, ok := cluster.PreviousAnswer(have.Answered, req.ID); ok {
		r.id, r.added = a.Request, a.Added
		return nil, nil
	}
	if err := cluster.CheckID(req.ID); err != nil {
		return nil, err
	}
	switch {
	case req.N <= 0:
		return nil, events.StatusErrorf(http.StatusBadRequest, "n is %d; it must be at least 1", req.N)
	case req.N > len(req.Servers):
		return nil, events.StatusErrorf(http.StatusBadRequest, "Number of new servers (n) is greater than newly added instances")
	case req.N < len(req.Servers):
		return nil, events.StatusErrorf(http.StatusBadRequest, "servers: %d are named, but n is %d", len(req.Servers), req.N)
	case len(have.Servers)+req.N > events.MaxShardServers:
		return nil, events.StatusErrorf(http.StatusBadRequest, "n is %d, and there are %d; a table can have at most %d servers", req.N, len(have.Servers), events.MaxShardServers)
	}
	db := cluster.CloneTable(have)
	db.Table.Shards = append(db.Table.Shards, req.NewShards...)
	if err := db.Table.Validate(); err != nil {
		return nil, err
	}
	db.Table.Sort()
	if err := checkShardNames(req.NewShards); err != nil {
		return nil, err
	}
	if err := checkPlacements(s, db.Table, req.Servers, now.Before(r.deadline)); err != nil {
		return nil, err
	}
	given, old := [][]string{}, [][]string{}
	for _, p := range req.Servers {
		given = append(given, p.Shards)
	}
	for _, srv := range db.Servers {
		old = append(old, srv.Shards)
	}
	added := placement.Layout(shardIDs(req.NewShards), given, events.DefaultShardReplicas)
	added = placement.Share(shardIDs(db.Table.Shards), old, added)
	if err := checkSize(append(old, added...)); err != nil {
		return nil, err
	}
	logs := make([]events.ShardLog, 0, len(db.Table.Shards))
	for _, sh := range db.Table.Shards {
		l, ok := have.Log(sh.ID)
		if !ok {
			l = events.ShardLog{Shard: sh.ID, Incarnation: rand.Text()}
		}
		logs = append(logs, l)
	}
	db.Logs = logs
	before := len(db.Servers)
	names := appendServers(s, &db, req.ID, req.Servers, added)
	r.id, r.added = req.ID, names
	db.Answered = cluster.RememberAnswer(db.Answered, events.Answered{Request: req.ID, Added: names}, s.Cfg.RememberedRequests)
	db.Decision = s.Because(s.Event(now, events.EntityTable, events.VerbScaled, r.table, map[string]any{
		"reason": reason(req.ID), "added": names, "new_shards": append([]string{}, shardIDs(req.NewShards)...), "from": before, "to": len(db.Servers),
	}))
	if err := cluster.CheckStorable("table '"+db.Table.Name+"'", db); err != nil {
		return nil, err
	}
	return []cluster.Effect{cluster.PutTable{Value: db}}, nil
}

// removeServers takes servers from a table, those that are named and then
// random ones, first of those with a replica that is not ready: never the last
// copy of a shard, nor the last that is ready.
func removeServers(s *cluster.State, r *Request, req events.ServersRequest, now time.Time) ([]cluster.Effect, error) {
	have, err := findTable(s, req.Table)
	if err != nil {
		return nil, err
	}
	r.table = have.Table.Name
	if a, ok := cluster.PreviousAnswer(have.Answered, req.ID); ok {
		r.removed = a.Removed
		return nil, nil
	}
	switch {
	case req.N <= 0:
		return nil, events.StatusErrorf(http.StatusBadRequest, "n is %d; it must be at least 1", req.N)
	case len(req.Names) > req.N:
		return nil, events.StatusErrorf(http.StatusBadRequest, "Length of server list is more than removable instances")
	case req.N > len(have.Servers):
		return nil, events.StatusErrorf(http.StatusBadRequest, "n is %d, but there are only %d servers", req.N, len(have.Servers))
	}
	for i, name := range req.Names {
		if _, ok := cluster.ServerOf(have, name); !ok {
			return nil, events.StatusErrorf(http.StatusBadRequest, "servers: '%.63s' is not a server%s", name, replicaHint(s, name))
		}
		if slices.Contains(req.Names[:i], name) {
			return nil, events.StatusErrorf(http.StatusBadRequest, "servers: '%s' is listed twice", name)
		}
	}
	c := placement.NewRemovalPlan(s, have)
	for _, name := range req.Names {
		if shard, ok := c.Remove(name); !ok {
			return nil, events.StatusErrorf(http.StatusBadRequest, "servers: '%s' has the last copy of shard '%s' that is ready; nothing was removed", name, shard)
		}
	}
	more, ok := c.Pick(req.N-len(req.Names), s.Rng.Perm(len(have.Servers)))
	if !ok {
		return nil, events.StatusErrorf(http.StatusBadRequest, "n is %d, but no %d servers can go so that every shard keeps a copy that is ready", req.N, req.N)
	}
	r.removed = append(slices.Clone(req.Names), more...)
	db := cluster.CloneTable(have)
	db.Servers = slices.DeleteFunc(db.Servers, func(srv events.ShardServer) bool { return slices.Contains(r.removed, srv.Name) })
	db.Answered = cluster.RememberAnswer(db.Answered, events.Answered{Request: req.ID, Removed: r.removed}, s.Cfg.RememberedRequests)
	db.Decision = s.Because(s.Event(now, events.EntityTable, events.VerbScaled, r.table, map[string]any{
		"reason": reason(req.ID), "removed": r.removed, "from": len(have.Servers), "to": len(db.Servers),
	}))
	return []cluster.Effect{cluster.PutTable{Value: db}}, nil
}

// checkShardNames refuses new shards whose names are fields of answers that have
// one for each shard: /read/<server> and /copy.
func checkShardNames(shards []events.Shard) error {
	for _, sh := range shards {
		if slices.Contains([]string{"status", "message"}, strings.ToLower(sh.ID)) {
			return events.StatusErrorf(http.StatusBadRequest, "shards: a shard cannot be called %s, which answers have for something else", sh.ID)
		}
	}
	return nil
}
