package rollout

import (
	"cmp"
	"fmt"
	"maps"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// Detail describes how far a change of a table's servers is.
func Detail(s *cluster.State, db events.Database, now time.Time) string {
	behind, waits := 0, ""
	for _, srv := range db.Servers {
		if srv.Renewal != nil && db.Stuck == "" {
			line := srv.Name + " is started anew: " + srv.Renewal.Why
			if st, ok := s.Hosts[srv.Host].Status(srv.Name); ok && st.Detail != "" {
				line += "; host " + srv.Host + " says: " + st.Detail
			}
			return line
		}
		if srv.Behind {
			behind++
			waits = cmp.Or(waits, restartBlockedBy(s, db, srv, now))
		}
	}
	if db.Stuck != "" || behind == 0 {
		return db.Stuck
	}
	return fmt.Sprintf("%d servers are to be started anew; %s", behind, cmp.Or(waits, "one is about to"))
}

// changedSpec is what is new.
func changedSpec(was, is events.ServerSpec) string {
	switch {
	case cmp.Or(was.Engine, "auto") != cmp.Or(is.Engine, "auto"):
		return "another engine is configured"
	case !maps.Equal(was.Env, is.Env):
		return "another environment is configured"
	case was.Image != is.Image:
		return "another image is configured"
	case was.Limits != is.Limits:
		return "other limits are configured"
	}
	return ""
}
