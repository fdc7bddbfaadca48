package controller

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"ringway/events"
)

// A tableRequest waits until enough is known to begin it, and then until what
// it asked for is real.
type tableRequest struct {
	begin    func(*state, *tableRequest, time.Time) ([]effect, error)
	reply    func(*state, *tableRequest) any
	begun    bool
	table    string
	id       string   // of the request, if the replicas on the servers that it added must be ready
	added    []string // those servers as they were called then, if all must still be wanted
	ids      []int    // of other servers whose replicas must be ready
	shard    string   // if set, only the replicas of this shard
	log      string   // if set, on this incarnation of its log
	removed  []string // must not be in the route
	deadline time.Time
	done     func(any, error)
}

func (r *tableRequest) answer(reply any, err error) effect { return answer{done: r.done, reply: reply, err: err} }

// tables holds what a term knows of the requests about tables, and of the work
// on their logs.
type tables struct {
	s         *state
	requests  []*tableRequest
	creations map[events.LogID]*logCreation
	purges    map[events.LogID]*logPurge
}

func newTables(s *state) *tables {
	return &tables{s: s, creations: map[events.LogID]*logCreation{}, purges: map[events.LogID]*logPurge{}}
}

// verbs are the requests about tables.
func (t *tables) verbs() map[string]verb {
	return map[string]verb{
		events.APIInit:          decodeRequest(t, initTable),
		events.APIAddServers:    decodeRequest(t, addServers),
		events.APIRemoveServers: decodeRequest(t, removeServers),
		events.APIRecover:       decodeRequest(t, recoverShard),
	}
}

func decodeRequest[R any](t *tables, request func(R) *tableRequest) verb {
	return func(body []byte) (begin, error) {
		var req R
		if err := json.Unmarshal(body, &req); err != nil {
			return nil, err
		}
		r := request(req)
		return func(now time.Time, done func(any, error)) []effect {
			r.deadline, r.done = now.Add(t.s.cfg.TableTimeout), done
			t.requests = append(t.requests, r)
			return nil
		}, nil
	}
}

// beginRequests begins one request after the other: each looks at what the one
// before has changed. It waits for hosts, like every placement.
func (t *tables) beginRequests(now time.Time) []effect {
	if !t.s.readyToPlace(now) {
		return nil
	}
	for _, r := range t.requests {
		if r.begun {
			continue
		}
		r.begun = true
		effects, err := r.begin(t.s, r, now)
		if err != nil {
			t.requests = slices.DeleteFunc(t.requests, func(other *tableRequest) bool { return other == r })
			return []effect{r.answer(nil, err)}
		}
		if len(effects) > 0 {
			return effects
		}
	}
	return nil
}

// reply answers the requests that are fulfilled, or whose time is up.
func (t *tables) reply(now time.Time) (effects []effect) {
	t.requests = slices.DeleteFunc(t.requests, func(r *tableRequest) bool {
		missing := "no host has been heard, and nothing was changed"
		if r.begun {
			missing = t.waitingFor(r, now)
		}
		lost := t.s.serversRemovedSince(r)
		switch {
		case lost != nil:
			effects = append(effects, r.answer(nil, lost))
		case missing == "":
			effects = append(effects, r.answer(r.reply(t.s, r), nil))
		case now.Before(r.deadline):
			return false
		case !r.begun:
			effects = append(effects, r.answer(nil, events.StatusErrorf(http.StatusServiceUnavailable, "%s", missing)))
		default:
			effects = append(effects, r.answer(nil, events.StatusErrorf(http.StatusGatewayTimeout,
				"accepted, but not finished in time: %s; the controller goes on with it", missing)))
		}
		return true
	})
	return effects
}

// waitingFor says what a request still waits for.
func (t *tables) waitingFor(r *tableRequest, now time.Time) string {
	s := t.s
	db, ok := s.tables[r.table]
	if !ok {
		return "the table is gone"
	}
	for _, l := range db.value.Logs {
		if !l.Made {
			why := "not made yet"
			if m := t.creations[events.LogID{Table: r.table, Shard: l.Shard, Incarnation: l.Incarnation}]; m != nil && m.err != nil {
				why = m.err.Error()
			}
			return fmt.Sprintf("the log of shard %s is %s", l.Shard, why)
		}
	}
	route, ok := s.tableRoutes[r.table]
	if !ok {
		return "there is no route yet"
	}
	for _, name := range r.removed {
		if _, there := route.value.Server(name); there {
			return name + " is still in the route"
		}
	}
	for _, srv := range db.value.Servers {
		if !r.has(srv) {
			continue
		}
		for _, shard := range srv.Shards {
			if (r.shard == "" || shard == r.shard) && !readyIn(route.value, srv.Name, shard, r.log) {
				return fmt.Sprintf("shard %s on %s is not ready yet", shard, srv.Name)
			}
		}
		if _, there := route.value.Server(srv.Name); !there {
			return srv.Name + " is not in the route yet"
		}
	}
	if !s.tableServed(r.table, route.version, now) {
		return "a router serves an older route"
	}
	return ""
}

// has reports whether a server is one that the request is about, or its
// replacement.
func (r *tableRequest) has(srv events.ShardServer) bool {
	return r.id != "" && srv.Request == r.id || slices.Contains(r.ids, srv.ID)
}

// serversRemovedSince refuses to call a request done if what it added was removed
// meanwhile.
func (s *state) serversRemovedSince(r *tableRequest) error {
	db, ok := s.tables[r.table]
	if !ok {
		return nil
	}
	return removedMeanwhile(r.added, db.value.Servers, r.has)
}

// readyIn reports whether a replica is ready in a route; log "" is any.
func readyIn(route events.TableRoute, server, shard, log string) bool {
	sh, ok := route.Shard(shard)
	return ok && (log == "" || sh.Log.Incarnation == log) &&
		slices.ContainsFunc(sh.Replicas, func(r events.ShardReplica) bool { return r.Server == server && r.Ready })
}

func (s *state) tableServed(table string, epoch events.Epoch, now time.Time) bool {
	return s.servedBy(func(b *events.RouterHeartbeat) events.Epoch { return b.Tables[table] }, epoch, now)
}

// findTable finds the table that a request is about; the empty name means the only
// one.
func (s *state) findTable(table string) (events.Database, error) {
	if table == "" && len(s.tables) == 1 {
		table = sorted(s.tables)[0]
	}
	db, ok := s.tables[table]
	switch {
	case ok:
		return db.value, nil
	case len(s.tables) == 0:
		return events.Database{}, events.StatusErrorf(http.StatusBadRequest, "no database is configured; use /init first")
	case table == "":
		return events.Database{}, events.StatusErrorf(http.StatusBadRequest, "table is missing; there are %v", sorted(s.tables))
	}
	return events.Database{}, events.StatusErrorf(http.StatusNotFound, "table '%s' does not exist; there are %v", table, sorted(s.tables))
}

// previousAnswer finds a request that was accepted before, perhaps by another leader.
func previousAnswer(db events.Database, request string) (events.Answered, bool) {
	i := slices.IndexFunc(db.Answered, func(a events.Answered) bool { return request != "" && a.Request == request })
	if i < 0 {
		return events.Answered{}, false
	}
	return db.Answered[i], true
}

func (s *state) rememberAnswer(db *events.Database, a events.Answered) {
	if a.Request == "" {
		return
	}
	db.Answered = append(slices.Clone(db.Answered), a)
	db.Answered = db.Answered[max(0, len(db.Answered)-s.cfg.RememberedRequests):]
}

func serverIDs(db events.Database, names []string) (ids []int) {
	for _, srv := range db.Servers {
		if slices.Contains(names, srv.Name) {
			ids = append(ids, srv.ID)
		}
	}
	return ids
}

// serversReply names the servers of a request as they are called now.
func (s *state) serversReply(r *tableRequest) any {
	db := s.tables[r.table].value
	reply := events.ServersReply{Table: r.table, N: len(db.Servers), Removed: r.removed}
	for _, srv := range db.Servers {
		if r.has(srv) {
			reply.Added = append(reply.Added, srv.Name)
		}
	}
	if route, ok := s.tableRoutes[r.table]; ok {
		reply.Epoch = route.version
	}
	return reply
}

// createConfiguredTables makes the tables that the configuration names.
func (s *state) createConfiguredTables(now time.Time) (effects []effect) {
	if !s.readyToPlace(now) {
		return nil
	}
	effects = s.reportOrphans(now)
	for _, w := range s.cfg.Tables {
		name := tableName(w.Request)
		if have, ok := s.tables[name]; ok {
			if have.value.ConfigHash != w.ConfigHash {
				db := have.value
				db.ConfigHash = w.ConfigHash
				db.Decision = s.because(s.event(now, events.EntityTable, events.VerbRefused, name, map[string]any{
					"reason": "the table is there already; what the configuration says of it is not looked at"}))
				effects = append(effects, putTable{value: db})
			}
			continue
		}
		r := initTable(w.Request)
		next, err := s.makeTable(r, w.Request, w.ConfigHash, now)
		if err != nil {
			effects = append(effects, s.emitOnce(now, events.EntityTable, name, err)...)
			continue
		}
		return append(effects, next...)
	}
	return effects
}

// reportOrphans tells of shard servers of a table that nobody knows: they outlived
// their bus. They and their data are left alone.
func (s *state) reportOrphans(now time.Time) (effects []effect) {
	for _, h := range s.alive() {
		for _, i := range s.hosts[h].heartbeat.Instances {
			if s.tables[i.Service] == nil && isOrphan(i) {
				effects = append(effects, s.emitOnce(now, events.EntityTable, i.Service, errOrphans)...)
			}
		}
	}
	return effects
}

func isOrphan(i events.InstanceStatus) bool {
	return i.Kind == events.KindShard && i.State != events.Dead && i.State != events.Stopping
}

var errOrphans = errors.New("shard servers of this table run, but the bus knows nothing of it: it was wiped, or lost what was asked for; they and their data are left alone")
