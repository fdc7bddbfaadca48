package cli

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringway/cli/client"
	"ringway/cli/console"
	"ringway/events"
)

// scaleTimeout covers starting or draining instances.
const scaleTimeout = time.Minute

func (a *app) addCommand() *cobra.Command {
	return a.scaleCommand(&cobra.Command{
		Use:   "add [NAME…]",
		Short: "Add replicas",
		Long: `Add replicas, and answer when they serve.

Names are those to use; the rest of -n gets random ones.`,
		Example: `  ringway add -n 2
  ringway add S5 S4 -n 4`,
	}, events.APIAdd, "adding", "replicas to add (default: as many as names, else 1)")
}

func (a *app) rmCommand() *cobra.Command {
	return a.scaleCommand(&cobra.Command{
		Use:   "rm [NAME…]",
		Short: "Remove replicas",
		Long: `Remove replicas, and answer when they get no new request.

The named ones go first; the rest of -n is chosen at random.`,
		Example: `  ringway rm S5
  ringway rm S5 S4 -n 3`,
	}, events.APIRemove, "removing", "replicas to remove (default: as many as names)")
}

func (a *app) scaleCommand(cmd *cobra.Command, verb, doing, help string) *cobra.Command {
	var f client.Flags
	req := events.ScaleRequest{ID: rand.Text()}
	f.Add(cmd, scaleTimeout)
	cmd.Flags().IntVarP(&req.N, "number", "n", 0, help)
	cmd.Flags().StringVar(&req.Service, "service", "", "service (default: the only one)")
	output := console.OutputFlag(cmd)
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		if !cmd.Flags().Changed("number") {
			if len(names) == 0 && verb == events.APIRemove {
				return console.Usage("name the replicas to remove, or say how many with -n; the names are in 'ringway ps'")
			}
			req.N = max(1, len(names))
		}
		if err := checkScale(req.N, names); err != nil {
			return err
		}
		req.Names = names
		return a.With(cmd, &f, func(ctx context.Context, c client.Cluster) error {
			var reply events.ScaleReply
			what := fmt.Sprintf("%s %d, waiting for the routers", doing, req.N)
			if err := a.Request(ctx, c, f.Timeout, verb, what, req, &reply); err != nil {
				return err
			}
			if *output == console.AsJSON {
				return console.WriteJSON(a.Out, reply)
			}
			a.printScale(reply)
			return nil
		})
	}
	return cmd
}

func checkScale(n int, names []string) error {
	if n < 1 {
		return console.Usage("-n %d: use at least 1", n)
	}
	if len(names) > n {
		return console.Usage("%d names for -n %d; leave -n out, or name fewer", len(names), n)
	}
	for i, name := range names {
		if err := events.ValidName(name); err != nil {
			return console.Usage("%w", err)
		}
		if slices.Contains(names[:i], name) {
			return console.Usage("name %q is given twice", name)
		}
	}
	return nil
}

func (a *app) printScale(r events.ScaleReply) {
	for _, change := range []struct {
		word  string
		names []string
	}{{"added", r.Added}, {"removed", r.Removed}} {
		if len(change.names) > 0 {
			fmt.Fprintf(a.Out, "%-9s %s\n", change.word, console.Printable(strings.Join(change.names, " ")))
		}
	}
	fmt.Fprintf(a.Out, "%-9s %s\n", "replicas", console.Printable(strings.Join(r.Replicas, " ")))
}
