package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"ringway/cli/client"
	"ringway/cli/console"
	"ringway/cli/recovery"
	"ringway/events"
)

func (a *app) shardsCommand() *cobra.Command {
	cmd := a.Listing(&cobra.Command{
		Use:   "shards",
		Short: "List the shards of the database and their replicas",
		Long: `List the shards of the database and their replicas. LOG is the last seq of a
shard's log, as the bus says now; none if the log is not there. APPLIED is how
far a replica had come at its last heartbeat, of which there are two a second.
The eager replica commits at once and answers writers.

States: pending, opening, waiting (has nothing, and nobody to copy from),
copying, catching-up, ready, quarantined (on another history; rebuilt as soon as
another replica is ready), halted (cannot go on by itself), silent (its server
is not heard).`,
		Example: `  ringway shards
  ringway shards -o json | jq '.[] | {shard, replicas: [.replicas[] | {server, state}]}'
  ringway shards recover StudT.sh1`,
		Args: cobra.NoArgs,
	}, func(ctx context.Context, c client.Cluster, st events.Status) (any, func()) {
		shards := client.ShardsOf(st)
		gone := readLogEnds(ctx, c, shards)
		return shards, func() {
			if len(shards) == 0 {
				a.Console.Printf("%s", client.ErrNoDatabase)
				return
			}
			a.printShards(shards, gone)
			for _, t := range st.Tables {
				a.printDetail(t.Name, t.Detail)
			}
		}
	})
	cmd.AddCommand(recovery.Command(a.Client))
	return cmd
}

// readLogEnds reads from the bus where the logs end: the leader only knows what
// replicas report. It returns which are missing; those, and what the bus does
// not answer in time, stay as the leader reported them.
func readLogEnds(ctx context.Context, c client.Cluster, shards []events.ShardStatus) (gone []bool) {
	ctx, done := context.WithTimeout(ctx, client.DialTimeout)
	defer done()
	gone = make([]bool, len(shards))
	var all errgroup.Group
	all.SetLimit(8)
	for i := range shards {
		all.Go(func() error {
			s := &shards[i]
			log, err := c.LogState(ctx, events.LogID{Table: s.Table, Shard: s.Shard, Incarnation: s.Incarnation})
			if err == nil {
				s.LastSeq = log.Last
			}
			gone[i] = errors.Is(err, events.ErrLogMissing) || errors.Is(err, events.ErrLogForeign)
			return nil
		})
	}
	_ = all.Wait() // what was not answered stays as it was
	return gone
}

func (a *app) printShards(all []events.ShardStatus, gone []bool) {
	var rows [][]any
	for i, s := range all {
		name, low, size, last := fmt.Sprintf("%s.%s", s.Table, s.Shard), fmt.Sprint(s.Low), fmt.Sprint(s.Size), fmt.Sprint(s.LastSeq)
		if gone[i] {
			last = "none"
		}
		if len(s.Replicas) == 0 {
			rows = append(rows, []any{name, low, size, last, "-", "-", "nobody keeps it", ""})
		}
		for _, r := range s.Replicas {
			state := r.State
			if r.Server == s.Responder {
				state += ", eager"
			}
			rows = append(rows, []any{name, low, size, last, r.Server, cmp.Or(r.Host, "-"), state, fmt.Sprint(r.AppliedSeq)})
			name, low, size, last = "", "", "", ""
		}
	}
	console.WriteTable(a.Out, []string{"shard", "low", "size", "log", "server", "host", "state", "applied"}, rows, 2, 3, 4, 8)
	var notes []string
	for _, s := range all {
		name := s.Table + "." + s.Shard
		for _, r := range s.Replicas {
			if r.Detail != "" {
				notes = append(notes, fmt.Sprintf("%s on %s: %s", name, r.Server, r.Detail))
			}
		}
		switch l := client.ProblemOf(s); {
		case l.Retries:
			notes = append(notes, fmt.Sprintf("%s: what halted is tried again, each half minute at least; where that does not help 'ringway shards recover %[1]s' makes a new log, and asks first", name))
		case l.Recoverable:
			notes = append(notes, fmt.Sprintf("%s: no replica can go on by itself; 'ringway shards recover %[1]s' makes a new log, and asks first", name))
		}
	}
	if len(notes) > 0 {
		fmt.Fprintln(a.Out)
	}
	for _, n := range notes {
		fmt.Fprintln(a.Out, console.Printable(n))
	}
}
