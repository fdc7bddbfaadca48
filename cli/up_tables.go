package cli

import (
	"context"
	"fmt"
	"time"

	"ringway/events"
)

// stuckFor is how long a shard may need a person before `up` goes on without
// it: longer than a replica that halted waits before it tries again.
const stuckFor = 20 * time.Second

// shardCount is how far the databases are.
type shardCount struct {
	asked      bool // a table was asked for
	there      bool // and is known, if so
	ready, all int  // shards with all their replicas, or which wait for a person
	trouble    string
	stuck      map[string]time.Time // shards that cannot go on by themselves, since when
}

func (c *shardCount) complete() bool { return c.ready == c.all && (c.there || !c.asked) }

func (c *shardCount) line() string {
	switch {
	case c.all > 0:
		return fmt.Sprintf("  shards %d/%d", c.ready, c.all)
	case c.asked:
		return "  shards …"
	}
	return ""
}

// patience is how long the start may take.
func (w *waiter) patience() time.Duration {
	if w.patient && (w.wish != "" || w.shards.all > 0) {
		return tablePatience
	}
	return w.o.patience
}

// lookAtTables counts. A shard that only a person can help must not keep the
// cluster down, for that person needs it.
func (w *waiter) lookAtTables(st events.Status, now time.Time) {
	c := &w.shards
	c.asked, c.there, c.ready, c.all, c.trouble = w.wish != "", false, 0, 0, ""
	stuck := map[string]time.Time{}
	for _, t := range st.Tables {
		c.there = c.there || t.Name == w.wish
		for _, s := range t.Shards {
			c.all++
			name := s.Table + "." + s.Shard
			missing, lost := progressOf(s)
			if missing == "" {
				c.ready++
				continue
			}
			c.trouble = printable(name + " " + missing)
			if !lost {
				continue
			}
			since, ok := c.stuck[name]
			if !ok {
				since = now
			}
			stuck[name] = since
			if now.Sub(since) < stuckFor {
				continue
			}
			c.ready++
			if !w.told[name] {
				w.told[name] = true
				w.con.say("ringway: shard %s; going on without it, see 'ringway shards'", c.trouble)
			}
		}
	}
	c.stuck = stuck
}

// askWhy looks into the events for why a table that was asked for is not there.
func (w *waiter) askWhy(ctx context.Context) {
	if !w.leads || w.shards.there || !w.shards.asked {
		return
	}
	ctx, done := context.WithTimeout(ctx, dialPatience)
	defer done()
	w.shards.trouble = "no table " + w.wish
	_ = w.cluster.History(ctx, w.began, false, func(e events.Event) error { // it is only an explanation
		if e.Entity == events.EntityTable && e.Verb == events.VerbRefused && e.About == w.wish {
			w.shards.trouble = printable("table " + e.About + " refused: " + compact(e.Data))
		}
		return nil
	})
}

// progressOf says which replica of a shard is missing, if one is, and whether
// none is on its way to being ready.
func progressOf(s events.ShardStatus) (missing string, lost bool) {
	ready, coming := 0, 0
	for _, r := range s.Replicas {
		switch r.State {
		case events.ReplicaReady:
			ready++
			continue
		case events.ReplicaHalted:
		case events.ReplicaQuarantined, events.ReplicaWaiting: // for another that is ready, or becomes it
		default:
			coming++
		}
		missing = fmt.Sprintf("on %s is %s", r.Server, r.State)
		if r.Detail != "" {
			missing += ": " + r.Detail
		}
	}
	if len(s.Replicas) == 0 {
		return "is kept by nobody", false
	}
	if ready > 0 {
		for _, r := range s.Replicas {
			if r.State == events.ReplicaQuarantined || r.State == events.ReplicaWaiting {
				coming++
			}
		}
	}
	return missing, missing != "" && coming == 0
}
