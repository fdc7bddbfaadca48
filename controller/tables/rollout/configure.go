package rollout

import (
	"slices"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// Configure follows the configuration of the shard servers of tables that
// are there, when it has changed.
func Configure(s *cluster.State, now time.Time) (effects []cluster.Effect) {
	for _, w := range s.Cfg.Servers {
		have, ok := s.Tables[w.Table]
		if !ok || have.Value.ServersConfigHash == w.ConfigHash {
			continue
		}
		if isNew, why := cluster.IsNew(w.ConfigHash, w.Given, have.Value.ServersConfigHash, have.Value.ServersGiven); !isNew {
			if why != "" {
				effects = append(effects, s.ReportOnce(now, events.EntityTable, events.VerbRefused, w.Table, why)...)
			}
			continue
		}
		next, err := w.Overlay(have.Value.ServerSpec)
		if err == nil {
			err = cluster.CheckSpecs(s, w.Table, next)
		}
		if err != nil {
			effects = append(effects, s.EmitOnce(now, events.EntityTable, w.Table, err)...)
			continue
		}
		db := cluster.CloneTable(have.Value)
		db.ServersConfigHash, db.ServersGiven = w.ConfigHash, w.Given
		db.Decision = s.Because()
		if what := applyServerSpec(s, &db, next); what != "" {
			db.Decision = s.Because(s.Event(now, events.EntityTable, events.VerbChanged, w.Table, map[string]any{
				"reason": "configuration: " + what, "servers": outdatedServers(db),
			}))
		}
		effects = append(effects, cluster.PutTable{Value: db})
	}
	return effects
}

// applyServerSpec marks the servers that run something else than next, and returns
// what is new about it.
func applyServerSpec(s *cluster.State, db *events.Database, next events.ServerSpec) string {
	was, what := *db, changedSpec(db.ServerSpec, next)
	if what == "" && db.Stuck != "" {
		what = "what did not get ready is tried again"
	}
	// What a server falls back to is what others got ready with.
	proven := slices.ContainsFunc(was.Servers, func(srv events.ShardServer) bool { return !srv.Behind && srv.Renewal == nil })
	if was.Before == nil || proven && changedSpec(was.ServerSpec, next) != "" {
		before := was.ServerSpec
		db.Before = &before
	}
	db.ServerSpec, db.Stuck = next, ""
	for i := range db.Servers {
		srv := &db.Servers[i]
		if s.AssignedHome(*srv) {
			srv.Behind, srv.Renewal = changedSpec(was.Runs(*srv), next) != "", nil
		} else if !srv.Stopping() { // it will begin with next
			srv.Behind = false
		}
	}
	if !slices.ContainsFunc(db.Servers, func(srv events.ShardServer) bool { return srv.Behind || srv.Renewal != nil }) {
		db.Before = nil
	}
	return what
}

// outdatedServers lists the servers that are to be restarted.
func outdatedServers(db events.Database) []string {
	names := []string{}
	for _, srv := range db.Servers {
		if srv.Behind {
			names = append(names, srv.Name)
		}
	}
	return names
}
