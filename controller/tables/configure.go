package tables

import (
	"errors"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// CreateConfigured creates the tables that the configuration names.
func CreateConfigured(s *cluster.State, now time.Time) (effects []cluster.Effect) {
	if !s.ReadyToPlace(now) {
		return nil
	}
	effects = reportOrphans(s, now)
	for _, w := range s.Cfg.Tables {
		name := tableName(w.Request)
		if have, ok := s.Tables[name]; ok {
			if have.Value.ConfigHash != w.ConfigHash {
				db := have.Value
				db.ConfigHash = w.ConfigHash
				db.Decision = s.Because(s.Event(now, events.EntityTable, events.VerbRefused, name, map[string]any{
					"reason": "the table is there already; what the configuration says of it is not looked at"}))
				effects = append(effects, cluster.PutTable{Value: db})
			}
			continue
		}
		next, err := makeTable(s, &Request{}, w.Request, w.ConfigHash, now)
		if err != nil {
			effects = append(effects, s.EmitOnce(now, events.EntityTable, name, err)...)
			continue
		}
		return append(effects, next...)
	}
	return effects
}

// reportOrphans reports shard servers of a table that nobody knows: they outlived
// their bus. They and their data are left alone.
func reportOrphans(s *cluster.State, now time.Time) (effects []cluster.Effect) {
	for _, h := range s.Alive() {
		for _, i := range s.Hosts[h].Heartbeat.Instances {
			if s.Tables[i.Service] == nil && isOrphan(i) {
				effects = append(effects, s.EmitOnce(now, events.EntityTable, i.Service, errOrphans)...)
			}
		}
	}
	return effects
}

var errOrphans = errors.New("shard servers of this table run, but the bus knows nothing of it: it was wiped, or lost what was asked for; they and their data are left alone")
