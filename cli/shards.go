package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"ringway/events"
)

var errNoDatabase = errors.New("there is no database; make one with 'ringway init'")

func (a *app) shardsCommand() *cobra.Command {
	var f clusterFlags
	cmd := &cobra.Command{
		Use:   "shards",
		Short: "List the shards of the database and their replicas",
		Long: `List the shards of the database and their replicas: how long the log of each
shard is, and how far each replica has applied it. The eager replica commits at
once and answers writers.

States: pending, opening, waiting (has nothing, and nobody to copy from),
copying, catching-up, ready, quarantined (on another history; rebuilt as soon as
another replica is ready), halted (cannot go on by itself).`,
		Example: `  ringway shards
  ringway shards -o json | jq '.[] | {shard, behind: (.last_seq - (.replicas[].applied_seq))}'
  ringway shards recover StudT.sh1`,
		Args: cobra.NoArgs,
	}
	f.add(cmd, leaderPatience)
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.with(cmd, &f, func(ctx context.Context, c Cluster) error {
			st, err := a.status(ctx, c, f.timeout)
			if err != nil {
				return err
			}
			shards := shardsOf(st)
			if *output == asJSON {
				return writeJSON(a.out, shards)
			}
			if len(shards) == 0 {
				a.con.say("%s", errNoDatabase)
				return nil
			}
			a.printShards(shards)
			for _, t := range st.Tables {
				a.remark(t.Name, t.Detail)
			}
			return nil
		})
	}
	cmd.AddCommand(a.recoverCommand())
	return cmd
}

// shardsOf has arrays where there is nothing, for scripts.
func shardsOf(st events.Status) []events.ShardStatus {
	all := []events.ShardStatus{}
	for _, t := range st.Tables {
		for _, s := range t.Shards {
			if s.Replicas == nil {
				s.Replicas = []events.ReplicaReport{}
			}
			all = append(all, s)
		}
	}
	return all
}

func (a *app) printShards(all []events.ShardStatus) {
	var rows [][]any
	for _, s := range all {
		name, low, size, last := fmt.Sprintf("%s.%s", s.Table, s.Shard), fmt.Sprint(s.Low), fmt.Sprint(s.Size), fmt.Sprint(s.LastSeq)
		if len(s.Replicas) == 0 {
			rows = append(rows, []any{name, low, size, last, "-", "-", "nobody keeps it", ""})
		}
		for _, r := range s.Replicas {
			state := r.State
			if r.Server == s.Eager {
				state += ", eager"
			}
			rows = append(rows, []any{name, low, size, last, r.Server, dash(r.Host), state, fmt.Sprint(r.AppliedSeq)})
			name, low, size, last = "", "", "", ""
		}
	}
	writeTable(a.out, []string{"shard", "low", "size", "log", "server", "host", "state", "applied"}, rows, 2, 3, 4, 8)
	first := true
	for _, s := range all {
		for _, r := range s.Replicas {
			if r.Detail == "" {
				continue
			}
			if first {
				fmt.Fprintln(a.out)
				first = false
			}
			fmt.Fprintf(a.out, "%s on %s: %s\n", printable(s.Table+"."+s.Shard), printable(r.Server), printable(r.Detail))
		}
	}
}
