package tables

import (
	"cmp"
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// recoverShard gives a shard a new log, which continues its most advanced
// replica. What else there was is given up, so only a person may order it.
func recoverShard(s *cluster.State, r *Request, req events.RecoverRequest, now time.Time) ([]cluster.Effect, error) {
	have, err := findTable(s, req.Table)
	if err != nil {
		return nil, err
	}
	log, ok := have.Log(req.Shard)
	if !ok {
		return nil, events.StatusErrorf(http.StatusBadRequest, "shard '%.63s' is not defined", req.Shard)
	}
	r.table, r.shard, r.log = have.Table.Name, log.Shard, log.Incarnation
	if a, ok := cluster.PreviousAnswer(have.Answered, req.ID); ok {
		r.ids = serverIDs(have, a.Added)
		return nil, nil
	}
	if !log.Made {
		return nil, events.StatusErrorf(http.StatusConflict, "the log of shard '%s' is being made; try again in a moment", log.Shard)
	}
	if err := mayRecover(s, have, log); err != nil && !req.Force {
		return nil, err
	}
	srv, at, ok := MostAdvanced(s, have, log.Shard, log.Incarnation)
	if !ok {
		return nil, events.StatusErrorf(http.StatusConflict, "shard '%s' has no replica that could be continued", log.Shard)
	}
	db := cluster.CloneTable(have)
	db.Answered = cluster.RememberAnswer(db.Answered, events.Answered{Request: req.ID, Added: []string{srv.Name}}, s.Cfg.RememberedRequests)
	r.ids = []int{srv.ID}
	r.log = continueFrom(&db, log.Shard, at)
	db.Decision = s.Because(s.Event(now, events.EntityShard, events.VerbRecovered, r.table+"."+log.Shard, map[string]any{
		"reason": reason(req.ID), "server": srv.Name, "position": at, "instead_of": log.Incarnation, "log": r.log, "force": req.Force,
	}))
	return []cluster.Effect{cluster.PutTable{Value: db}}, nil
}

// continueFrom gives a shard a log that is not created yet.
func continueFrom(db *events.Database, shard string, at events.Position) (incarnation string) {
	i := slices.IndexFunc(db.Logs, func(l events.ShardLog) bool { return l.Shard == shard })
	db.Logs[i] = events.ShardLog{Shard: shard, Incarnation: rand.Text(), Origin: &at}
	return db.Logs[i].Incarnation
}

// mayRecover refuses while the shard is served or may come back by itself, or
// not every replica has reported.
func mayRecover(s *cluster.State, db events.Database, log events.ShardLog) error {
	if route, ok := s.TableRoutes[db.Table.Name]; ok {
		sh, _ := route.Value.Shard(log.Shard)
		for _, r := range sh.Replicas {
			if r.Ready {
				return events.StatusErrorf(http.StatusConflict, "shard '%s' is served by %s; there is nothing to recover (--force gives up what its log has beyond the replicas)", log.Shard, r.Server)
			}
		}
	}
	var away []string
	for _, srv := range cluster.ServersOf(db, log.Shard) {
		reported, fresh := s.Reported(srv.Name, db.Table.Name, log.Shard)
		switch {
		case !fresh:
			away = append(away, srv.Name)
		case reported.State == events.ReplicaOpening || reported.State == events.ReplicaCopying || reported.State == events.ReplicaCatchingUp:
			return events.StatusErrorf(http.StatusConflict, "shard '%s' on %s is %s; wait for it, or recover with --force", log.Shard, srv.Name, reported.State)
		}
	}
	if len(away) > 0 {
		return events.StatusErrorf(http.StatusConflict, "shard '%s': %s may have more than the others and cannot be heard; bring it back, or recover with --force", log.Shard, strings.Join(away, ", "))
	}
	return nil
}

// MostAdvanced finds the replica that has come farthest: on the preferred log
// if any has, else on any.
func MostAdvanced(s *cluster.State, db events.Database, shard, prefer string) (best events.ShardServer, at events.Position, ok bool) {
	preferred := func(p events.Position) bool { return p.Incarnation == prefer }
	states := []string{events.ReplicaReady, events.ReplicaCatchingUp, events.ReplicaQuarantined, events.ReplicaHalted}
	for _, srv := range slices.SortedFunc(slices.Values(cluster.ServersOf(db, shard)), cluster.ByServerID) { // of equals the one that status names first
		reported, fresh := s.Reported(srv.Name, db.Table.Name, shard)
		if !fresh || !slices.Contains(states, reported.State) || reported.Applied.Incarnation == "" {
			continue
		}
		if !ok || cmp.Or(cluster.FalseFirst(preferred(reported.Applied), preferred(at)), cmp.Compare(reported.Applied.Seq, at.Seq)) > 0 {
			best, at, ok = srv, reported.Applied, true
		}
	}
	return best, at, ok
}

// betterOrigin finds a later origin for a log that is not created yet: replicas
// may have gone on until the old log was deleted.
func betterOrigin(s *cluster.State, db events.Database, l events.ShardLog) (srv events.ShardServer, at events.Position, ok bool) {
	if l.Origin == nil {
		return srv, at, false
	}
	srv, at, ok = MostAdvanced(s, db, l.Shard, l.Origin.Incarnation)
	return srv, at, ok && at.Incarnation == l.Origin.Incarnation && at.Seq > l.Origin.Seq
}

// advanceOrigin lets a log that is not created yet continue a later position.
// It gets another incarnation, so that nobody creates it with the former origin.
func (t *Tables) advanceOrigin(db *events.Database, l events.ShardLog, srv events.ShardServer, at events.Position) {
	incarnation := continueFrom(db, l.Shard, at)
	for _, r := range t.requests {
		if r.table == db.Table.Name && r.shard == l.Shard && r.log == l.Incarnation {
			r.ids, r.log = []int{srv.ID}, incarnation
		}
	}
}

func recovered(s *cluster.State, r *Request) any {
	db := s.Tables[r.table].Value
	log, _ := db.Log(r.shard)
	reply := events.RecoverReply{Table: r.table, Shard: r.shard, Log: log, Epoch: s.TableRoutes[r.table].Version}
	for _, srv := range db.Servers {
		if slices.Contains(r.ids, srv.ID) {
			reply.Server = srv.Name
		}
	}
	return reply
}
