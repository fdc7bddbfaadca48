package up

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"ringway/cli/client"
	"ringway/cli/console"
	"ringway/events"
)

// waiveAfter is how long a shard may need a person before `up` goes on without
// it. A replica that halted tries again meanwhile.
const waiveAfter = 20 * time.Second

// minStuck is how long it does at least when the time for all else is over.
const minStuck = 5 * time.Second

// shardCount is how far the databases are.
type shardCount struct {
	expected   bool // a table was asked for
	there      bool // and is known, if so
	ready, all int  // shards with all their replicas
	waived     int  // that waited for a person so long that they are not waited for
	served     int  // shards that lack replicas, and have one that is ready
	trouble    string
	problems   []client.ShardProblem
	stuck      map[string]time.Time // shards that cannot go on by themselves, since when
}

func (c *shardCount) complete() bool {
	return c.ready+c.waived == c.all && (c.there || !c.expected)
}

// onlyStuck reports whether each shard is served, or waits for a person and has for
// a while: a replica that halted may go on a moment later.
func (c *shardCount) onlyStuck(now time.Time) bool {
	stuck := 0
	for _, l := range c.problems {
		since, waits := c.stuck[l.Shard]
		switch {
		case l.Served:
		case waits && now.Sub(since) >= minStuck:
			stuck++
		default:
			return false
		}
	}
	return c.ready+c.served+stuck == c.all && (c.there || !c.expected)
}

func (c *shardCount) line() string {
	switch {
	case c.all > 0:
		return fmt.Sprintf("  shards %d/%d", c.ready, c.all)
	case c.expected:
		return "  shards …"
	}
	return ""
}

// timeout is how long the start may take.
func (w *waiter) timeout() time.Duration {
	if w.defaultTimeout && (w.tableName != "" || w.shards.all > 0) {
		return tableTimeout
	}
	return w.o.timeout
}

// observeTables counts. A shard that only a person can help must not keep the
// cluster down, for that person needs it.
func (w *waiter) observeTables(st events.Status, now time.Time) {
	c := &w.shards
	before := c.stuck
	*c = shardCount{expected: w.tableName != "", stuck: map[string]time.Time{}}
	for _, t := range st.Tables {
		c.there = c.there || t.Name == w.tableName
		for _, s := range t.Shards {
			c.all++
			l := client.ProblemOf(s)
			if l.What == "" {
				c.ready++
				continue
			}
			c.problems = append(c.problems, l)
			if l.Served {
				c.served++
			}
			if !l.Lost {
				continue
			}
			since, ok := before[l.Shard]
			if !ok {
				since = now
			}
			c.stuck[l.Shard] = since
			if now.Sub(since) >= waiveAfter {
				c.waived++
			}
		}
	}
	c.trouble = console.Printable(c.describe())
}

// maxProblems bounds how many shards are named one by one.
const maxProblems = 8

func (c *shardCount) describe() string {
	var all []string
	for _, l := range c.problems {
		all = append(all, l.Shard+" "+l.What)
	}
	if more := len(all) - maxProblems; more > 0 {
		all = append(all[:maxProblems], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, "; ")
}

// waive goes on without the replicas that shards lack which are served all the same,
// and without the shards that only a person can help, if all else is there.
func (w *waiter) waive() bool {
	return w.leads && w.hosts == w.o.hosts && w.allReady() && w.serves && w.shards.onlyStuck(time.Now())
}

// reportIncomplete names the shards that are not served, or lack replicas.
func (u *up) reportIncomplete() {
	dead := 0
	for i, l := range u.incomplete {
		if !l.Served {
			dead++
		}
		switch {
		case i >= maxProblems:
		case l.Served:
			u.Console.Printf("ringway: shard %s is served, but %s; see 'ringway shards'", l.Shard, console.Printable(l.What))
		case l.Recoverable && !l.Retries:
			u.Console.Printf("ringway: shard %s cannot be read, and writes to it are not confirmed: it %s; see 'ringway shards', and 'ringway shards recover %[1]s'", l.Shard, console.Printable(l.What))
		default:
			u.Console.Printf("ringway: shard %s cannot be read, and writes to it are not confirmed: it %s; see 'ringway shards'", l.Shard, console.Printable(l.What))
		}
	}
	if more := len(u.incomplete) - maxProblems; more > 0 {
		u.Console.Printf("ringway: and %d more, see 'ringway shards'", more)
	}
	if dead > 0 {
		u.Console.Printf("ringway: %d of %s can be read and written", u.shards-dead, console.Count(int64(u.shards), "shard"))
	}
}

// reportIgnored names what a file has that differs from a stored table, which
// stays as it is.
func (u *up) reportIgnored(st events.Status) {
	for _, t := range st.Tables {
		if t.Name != u.tableName {
			continue
		}
		if differs := ignored(t, u.tableRequest); len(differs) > 0 {
			u.Console.Printf("ringway: table %s is there already and stays as it is, %s is not applied: %s", t.Name, console.Printable(u.o.table), console.Printable(strings.Join(differs, "; ")))
		}
	}
}

// ignored lists in what a table differs from the request for it. Which server keeps
// what is left out: servers come and go.
func ignored(t events.TableStatus, request events.InitRequest) (differs []string) {
	f := func(what string, is, file any) {
		differs = append(differs, fmt.Sprintf("%s %v, in the file %v", what, is, file))
	}
	if !t.Schema.Equal(&request.Table.Schema) {
		f("columns", t.Schema.Columns, request.Table.Schema.Columns)
		if slices.Equal(t.Schema.Columns, request.Table.Schema.Columns) {
			differs[0] = fmt.Sprintf("dtypes %v, in the file %v", t.Schema.DTypes, request.Table.Schema.DTypes)
		}
	}
	if len(t.Shards) != len(request.Table.Shards) {
		f("shards", len(t.Shards), len(request.Table.Shards))
	}
	for _, s := range t.Shards {
		if want, ok := request.Table.Shard(s.Shard); !ok {
			differs = append(differs, "shard "+s.Shard+" is not in the file")
		} else if is := (events.Shard{ID: s.Shard, Low: s.Low, Size: s.Size}); is != want {
			f("keys of shard "+s.Shard, fmt.Sprintf("%d to %d", is.Low, is.High()), fmt.Sprintf("%d to %d", want.Low, want.High()))
		}
	}
	if len(t.Servers) != request.N {
		f("servers", len(t.Servers), request.N)
	}
	if request.Replicas > 0 && len(request.Servers) == 0 {
		for _, s := range t.Shards {
			if want := min(request.Replicas, request.N); len(s.Replicas) != want {
				f("copies of shard "+s.Shard, len(s.Replicas), want)
			}
		}
	}
	if request.Engine != "" && t.Engine != request.Engine {
		f("engine", t.Engine, request.Engine)
	}
	if more := len(differs) - maxProblems; more > 0 {
		differs = append(differs[:maxProblems], fmt.Sprintf("and %d more", more))
	}
	return differs
}

// findReason looks into the events for why a table that was asked for is not there.
func (w *waiter) findReason(ctx context.Context) {
	if !w.leads || w.shards.there || !w.shards.expected {
		return
	}
	ctx, done := context.WithTimeout(ctx, client.DialTimeout)
	defer done()
	w.shards.trouble = "no table " + w.tableName
	_ = w.cluster.History(ctx, w.began, false, func(e events.Event) error { // it is only an explanation
		if e.Entity == events.EntityTable && e.Verb == events.VerbRefused && e.About == w.tableName {
			w.shards.trouble = console.Printable("table " + e.About + " refused: " + console.Compact(e.Data))
		}
		return nil
	})
}
