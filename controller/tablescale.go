package controller

import (
	"cmp"
	"crypto/rand"
	"net/http"
	"slices"
	"time"

	"ringway/events"
)

func addServers(req events.ServersRequest) *tableRequest {
	req.ID = cmp.Or(req.ID, rand.Text())
	return &tableRequest{
		begin: func(s *state, r *tableRequest, now time.Time) ([]effect, error) { return s.addServers(r, req, now) },
		reply: (*state).serversReply,
	}
}

func removeServers(req events.ServersRequest) *tableRequest {
	return &tableRequest{
		begin: func(s *state, r *tableRequest, now time.Time) ([]effect, error) { return s.removeServers(r, req, now) },
		reply: (*state).serversReply,
	}
}

// addServers gives a table more servers, and shards. What the request does not
// place goes to the new servers alone.
func (s *state) addServers(r *tableRequest, req events.ServersRequest, now time.Time) ([]effect, error) {
	have, err := s.findTable(req.Table)
	if err != nil {
		return nil, err
	}
	r.table = have.Table.Name
	if a, ok := previousAnswer(have, req.ID); ok {
		r.id, r.added = a.Request, a.Added
		return nil, nil
	}
	if err := checkID(req.ID); err != nil {
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
	db := cloneTable(have)
	db.Table.Shards = append(db.Table.Shards, req.NewShards...)
	if err := db.Table.Validate(); err != nil {
		return nil, err
	}
	db.Table.Sort()
	if err := s.checkPlacements(db.Table, req.Servers); err != nil {
		return nil, err
	}
	given, old := [][]string{}, [][]string{}
	for _, p := range req.Servers {
		given = append(given, p.Shards)
	}
	for _, srv := range db.Servers {
		old = append(old, srv.Shards)
	}
	added := layout(shardIDs(req.NewShards), given, events.DefaultShardReplicas)
	added = share(shardIDs(db.Table.Shards), old, added)
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
	names := s.appendServers(&db, req.ID, req.Servers, added)
	r.id, r.added = req.ID, names
	s.rememberAnswer(&db, events.Answered{Request: req.ID, Added: names})
	db.Decision = s.because(s.event(now, events.EntityTable, events.VerbScaled, r.table, map[string]any{
		"reason": reason(req.ID), "added": names, "new_shards": append([]string{}, shardIDs(req.NewShards)...), "from": before, "to": len(db.Servers),
	}))
	return []effect{putTable{value: db}}, nil
}

// removeServers takes servers from a table, those that are named and then
// random ones, first of those with a replica that is not ready: never the last
// copy of a shard, nor the last that is ready.
func (s *state) removeServers(r *tableRequest, req events.ServersRequest, now time.Time) ([]effect, error) {
	have, err := s.findTable(req.Table)
	if err != nil {
		return nil, err
	}
	r.table = have.Table.Name
	if a, ok := previousAnswer(have, req.ID); ok {
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
		if _, ok := serverOf(have, name); !ok {
			return nil, events.StatusErrorf(http.StatusBadRequest, "servers: '%.63s' is not a server%s", name, s.replicaHint(name))
		}
		if slices.Contains(req.Names[:i], name) {
			return nil, events.StatusErrorf(http.StatusBadRequest, "servers: '%s' is listed twice", name)
		}
	}
	c := s.removalPlan(have)
	for _, name := range req.Names {
		if shard, ok := c.remove(name); !ok {
			return nil, lastCopy(name, shard)
		}
	}
	more, ok := c.pick(req.N-len(req.Names), s.rng.Perm(len(have.Servers)))
	if !ok {
		return nil, events.StatusErrorf(http.StatusBadRequest, "n is %d, but no %d servers can go so that every shard keeps a copy that is ready", req.N, req.N)
	}
	r.removed = append(slices.Clone(req.Names), more...)
	db := cloneTable(have)
	db.Servers = slices.DeleteFunc(db.Servers, func(srv events.ShardServer) bool { return slices.Contains(r.removed, srv.Name) })
	s.rememberAnswer(&db, events.Answered{Request: req.ID, Removed: r.removed})
	db.Decision = s.because(s.event(now, events.EntityTable, events.VerbScaled, r.table, map[string]any{
		"reason": reason(req.ID), "removed": r.removed, "from": len(have.Servers), "to": len(db.Servers),
	}))
	return []effect{putTable{value: db}}, nil
}

func lastCopy(name, shard string) error {
	return events.StatusErrorf(http.StatusBadRequest, "servers: '%s' has the last copy of shard '%s' that is ready; nothing was removed", name, shard)
}

// removalPlan counts the copies of each shard that are ready.
type removalPlan struct {
	servers []events.ShardServer // that are left, in the table's order
	good    map[string]map[string]bool
	left    map[string]int // good copies by shard
}

func (s *state) removalPlan(db events.Database) *removalPlan {
	c := &removalPlan{servers: slices.Clone(db.Servers), good: map[string]map[string]bool{}, left: map[string]int{}}
	for _, srv := range db.Servers {
		c.good[srv.Name] = map[string]bool{}
		for _, id := range srv.Shards {
			log, _ := db.Log(id)
			if s.confirmedReady(srv, db.Table.Name, log) {
				c.good[srv.Name][id] = true
				c.left[id]++
			}
		}
	}
	return c
}

// blocked names a shard that would have no good copy without this server.
func (c *removalPlan) blocked(srv events.ShardServer) (string, bool) {
	for _, id := range srv.Shards {
		left := c.left[id]
		if c.good[srv.Name][id] {
			left--
		}
		if left < 1 {
			return id, true
		}
	}
	return "", false
}

// remove takes a server away, or names the shard that needs it.
func (c *removalPlan) remove(name string) (needed string, ok bool) {
	i := slices.IndexFunc(c.servers, func(srv events.ShardServer) bool { return srv.Name == name })
	if id, no := c.blocked(c.servers[i]); no {
		return id, false
	}
	c.take(c.servers[i], -1)
	c.servers = slices.Delete(c.servers, i, i+1)
	return "", true
}

func (c *removalPlan) take(srv events.ShardServer, n int) {
	for id := range c.good[srv.Name] {
		c.left[id] += n
	}
}

// maxTries bounds the search for servers that may go together: the exact
// answer can take for ever on hundreds of servers.
const maxTries = 100_000

// pick finds n servers that may go together, tried in the given order, those
// with a replica that is not good first.
func (c *removalPlan) pick(n int, order []int) (names []string, ok bool) {
	tries := maxTries
	order = slices.DeleteFunc(slices.Clone(order), func(i int) bool { return i >= len(c.servers) })
	good := func(i int) bool { return len(c.good[c.servers[i].Name]) == len(c.servers[i].Shards) }
	slices.SortStableFunc(order, func(a, b int) int { return falseFirst(good(a), good(b)) })
	var try func(from, n int) bool
	try = func(from, n int) bool {
		if n == 0 {
			return true
		}
		for i := from; i+n <= len(order) && tries > 0; i++ {
			tries--
			srv := c.servers[order[i]]
			if _, no := c.blocked(srv); no {
				continue
			}
			c.take(srv, -1)
			names = append(names, srv.Name)
			if try(i+1, n-1) {
				return true
			}
			names = names[:len(names)-1]
			c.take(srv, 1)
		}
		return false
	}
	ok = try(0, n)
	return names, ok
}
