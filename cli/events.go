package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringway/cli/client"
	"ringway/cli/console"
	"ringway/events"
)

func (a *app) eventsCommand() *cobra.Command {
	var f client.Flags
	var follow bool
	var since string
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what happened, and why",
		Long: `Show what happened, and why: one line an event, or with -o json one object a line.

The bus keeps events for 7 days. No controller is needed.`,
		Example: `  ringway events
  ringway events --since 2h -o json | jq -r 'select(.verb == "died") | .about'
  ringway events --follow`,
		Args: console.NoArgs,
	}
	f.Add(cmd, client.LeaderTimeout)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens until interrupted")
	cmd.Flags().StringVar(&since, "since", "10m", "how far back: a duration like 10m or 3d, or a time like 2026-01-02T15:04:05Z")
	output := console.OutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		from, err := parseSince(since, time.Now())
		if err != nil {
			return err
		}
		return a.With(cmd, &f, func(ctx context.Context, c client.Cluster) error {
			reading, done := ctx, func() {}
			if !follow {
				reading, done = context.WithTimeout(ctx, f.Timeout)
			}
			defer done()
			quiet := true
			err := c.History(reading, from, follow, func(e events.Event) error {
				quiet = false
				if *output == console.AsJSON {
					return a.eventJSON(e)
				}
				return a.eventLine(e)
			})
			switch {
			case follow && ctx.Err() != nil:
				return nil // ctrl-C is how it is meant to end
			case errors.Is(reading.Err(), context.DeadlineExceeded):
				return console.Exit(console.ExitNobody, fmt.Errorf("the events did not come within %s; give more time with --timeout", f.Timeout))
			}
			if err == nil && quiet && *output == console.AsTable {
				a.Console.Printf("nothing happened since %s; look further back with --since", from.Local().Format("2006-01-02 15:04:05"))
			}
			return err
		})
	}
	return cmd
}

// parseSince takes times as people write them and as the listing shows them.
func parseSince(s string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	text, unit := s, time.Duration(1)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		text, unit = days+"h", 24
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > 365*24*time.Hour {
		return time.Time{}, console.Usage("--since %q: want a duration like 10m or 3d, or a time like 2026-01-02 15:04:05 or 2026-01-02T15:04:05Z", s)
	}
	return now.Add(-d * unit), nil
}

func (a *app) eventJSON(e events.Event) error {
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("event %s: %w", e.ID, err)
	}
	_, err = fmt.Fprintf(a.Out, "%s\n", b)
	return err
}

func (a *app) eventLine(e events.Event) error {
	line := fmt.Sprintf("%s  %-20s  %-16s  %s", e.Time.Local().Format("2006-01-02 15:04:05.000"), e.Entity+" "+e.Verb, e.About, e.Source)
	if data := console.Compact(e.Data); data != "" {
		line += "  " + data
	}
	_, err := fmt.Fprintln(a.Out, console.Printable(line))
	return err
}
