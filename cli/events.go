package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringway/cli/console"
	"ringway/events"
)

func (a *app) eventsCommand() *cobra.Command {
	var f clusterFlags
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
		Args: noArgs,
	}
	f.add(cmd, leaderTimeout)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens until interrupted")
	cmd.Flags().StringVar(&since, "since", "10m", "how far back: a duration like 10m or 3d, or a time like 2026-01-02T15:04:05Z")
	output := console.OutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		from, err := parseSince(since, time.Now())
		if err != nil {
			return err
		}
		return a.withCluster(cmd, &f, func(ctx context.Context, c Cluster) error {
			reading, done := ctx, func() {}
			if !follow {
				reading, done = context.WithTimeout(ctx, f.timeout)
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
				return console.Exit(console.ExitNobody, fmt.Errorf("the events did not come within %s; give more time with --timeout", f.timeout))
			}
			if err == nil && quiet && *output == console.AsTable {
				a.con.Printf("nothing happened since %s; look further back with --since", from.Local().Format("2006-01-02 15:04:05"))
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
	_, err = fmt.Fprintf(a.out, "%s\n", b)
	return err
}

func (a *app) eventLine(e events.Event) error {
	line := fmt.Sprintf("%s  %-20s  %-16s  %s", e.Time.Local().Format("2006-01-02 15:04:05.000"), e.Entity+" "+e.Verb, e.About, e.Source)
	if data := compact(e.Data); data != "" {
		line += "  " + data
	}
	_, err := fmt.Fprintln(a.out, console.Printable(line))
	return err
}

// compact writes an object as key=value, in the order of keys, and a position
// in a log as incarnation/seq; what else is nested stays JSON.
func compact(data json.RawMessage) string {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil {
		return string(data)
	}
	var parts []string
	for k, raw := range object {
		var s string
		var at events.Position
		if json.Unmarshal(raw, &s) != nil {
			if json.Unmarshal(raw, &at) == nil && at.Incarnation != "" {
				parts = append(parts, k+"="+fmt.Sprintf("%s/%d", at.Incarnation, at.Seq))
				continue
			}
			var b bytes.Buffer
			_ = json.Compact(&b, raw) // it was decoded, so it is JSON
			s = b.String()
		} else if s == "" || strings.ContainsAny(s, " =\"\n\t") {
			s = fmt.Sprintf("%q", s)
		}
		parts = append(parts, k+"="+s)
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}
