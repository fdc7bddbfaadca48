// Package recovery gives a shard that halted a new log, after it has shown what
// that would mean.
package recovery

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ringway/cli/client"
	"ringway/cli/console"
	"ringway/events"
)

// timeout covers filling replicas again.
const timeout = 3 * time.Minute

// command is one invocation.
type command struct{ *client.Client }

// Command is `ringway shards recover`.
func Command(c *client.Client) *cobra.Command {
	a := &command{c}
	var f client.Flags
	var force, yes bool
	cmd := &cobra.Command{
		Use:   "recover TABLE.SHARD",
		Short: "Give a shard that halted a new log",
		Long: `Give a shard that halted a new log, which continues its most advanced replica.

For a shard whose log is gone, or lost its end, and which none of its replicas
can go on with. The old log is deleted; what it or other replicas have beyond
the most advanced one is given up. The others are filled from it again. What
that would mean is said first, by what the bus and the shard servers have now.

It is refused while a replica is ready, or one that is wanted is not heard; with
--force it is not.`,
		Example: `  ringway shards recover StudT.sh1
  ringway shards recover StudT.sh1 --yes -o json`,
		Args: cobra.ExactArgs(1),
	}
	f.Add(cmd, timeout)
	cmd.Flags().BoolVar(&force, "force", false, "although a replica is ready, or one is not heard")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	output := console.OutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		table, shard, ok := strings.Cut(args[0], ".")
		if !ok || events.ValidIdentifier(table) != nil || events.ValidIdentifier(shard) != nil {
			return console.Usage("%q is no TABLE.SHARD; the shards are in 'ringway shards'", args[0])
		}
		return a.With(cmd, &f, func(ctx context.Context, c client.Cluster) error {
			st, err := a.Status(ctx, c, f.Timeout)
			if err != nil {
				return err
			}
			s, err := findShard(st, table, shard)
			if err != nil {
				return err
			}
			p, err := Plan(ctx, c, s)
			if err != nil {
				return err
			}
			a.Console.Printf("%s", p)
			switch {
			case yes:
			case !a.interactive():
				return console.Usage("nobody can be asked here; say --yes if that is what you want")
			case !a.confirm("Go on?"):
				return console.Exit(console.ExitRefused, fmt.Errorf("nothing was changed"))
			}
			req := events.RecoverRequest{ID: rand.Text(), Table: table, Shard: shard, Force: force}
			var reply events.RecoverReply
			if err := a.Request(ctx, c, f.Timeout, events.APIRecover, "making a new log", req, &reply); err != nil {
				return err
			}
			if *output == console.AsJSON {
				return console.WriteJSON(a.Out, reply)
			}
			fmt.Fprintf(a.Out, "%s.%s continues %s from seq %d\n", reply.Table, reply.Shard, console.Printable(reply.Server), reply.Log.First())
			return nil
		})
	}
	return cmd
}

func findShard(st events.Status, table, shard string) (events.ShardStatus, error) {
	all := client.ShardsOf(st)
	if len(st.Tables) == 0 {
		return events.ShardStatus{}, client.ErrNoDatabase
	}
	i := slices.IndexFunc(all, func(s events.ShardStatus) bool { return s.Table == table && s.Shard == shard })
	if i < 0 {
		return events.ShardStatus{}, fmt.Errorf("there is no shard %s.%s; the shards are in 'ringway shards'", table, shard)
	}
	return all[i], nil
}

// interactive reports whether there is a person to ask.
func (a *command) interactive() bool {
	f, ok := a.In.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (a *command) confirm(question string) bool {
	fmt.Fprintf(a.Console.W, "%s [y/N] ", question)
	return isYes(a.In)
}

// isYes takes nothing but a clear yes for one.
func isYes(in io.Reader) bool {
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil {
		return false
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes"
}
