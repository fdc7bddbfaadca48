package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ringway/cli/client"
	"ringway/cli/console"
	"ringway/events"
	"ringway/events/streams"
)

func (a *app) statusCommand() *cobra.Command {
	return a.Listing(&cobra.Command{
		Use:   "status",
		Short: "Show who leads, and the services, tables, hosts, routers and streams",
		Example: `  ringway status
  ringway status -o json | jq '.services[] | {name, wanted, serving}'`,
		Args: console.NoArgs,
	}, func(ctx context.Context, cluster client.Cluster, st events.Status) (any, func()) {
		ctx, cancel := context.WithTimeout(ctx, client.LeaderTimeout)
		defer cancel()
		full := statusReport{Status: st}
		var err error
		full.Streams, err = cluster.Streams(ctx)
		return full, func() {
			a.printStatus(st, time.Now())
			if err != nil {
				a.printDetail("bus", err.Error())
			}
			if rows := client.StreamRows(full.Streams); len(rows) > 0 {
				a.section([]string{"stream", "copies", "leader", "copies behind"}, rows, "", 2)
			}
		}
	})
}

// statusReport is what the leader knows, and what the bus says of itself.
type statusReport struct {
	events.Status
	Streams []streams.Status `json:"streams,omitempty"`
}

func (a *app) printStatus(st events.Status, now time.Time) {
	fmt.Fprintf(a.Out, "controller  %s leads for %s (term %s)\n", console.Printable(st.Controller), age(st.Since, now), st.Term)
	if r := st.RolledBack; r != nil {
		fmt.Fprintf(a.Out, "bus         went back to an older copy of itself, noticed %s ago: %s\n", age(r.Noticed, now), console.Printable(r.Reason))
	}
	var rows [][]any
	for _, s := range st.Services {
		rows = append(rows, []any{s.Name, s.Algorithm, fmt.Sprintf("%d/%d", s.Serving, s.Wanted), s.Epoch.String()})
	}
	a.section([]string{"service", "algorithm", "serving", "epoch"}, rows, "no service")
	for _, s := range st.Services {
		a.printDetail(s.Name, s.Detail)
	}
	if len(st.Tables) > 0 {
		rows = nil
		for _, t := range st.Tables {
			rows = append(rows, []any{t.Name, fmt.Sprintf("%d/%d", completeShards(t), len(t.Shards)), len(t.Servers), t.Epoch.String()})
		}
		a.section([]string{"table", "shards", "servers", "epoch"}, rows, "", 3)
		for _, t := range st.Tables {
			a.printDetail(t.Name, t.Detail)
		}
	}
	rows = nil
	for _, h := range st.Hosts {
		load, cpus, memory, lastHeard := fmt.Sprintf("%.2f", h.Load.Load1), fmt.Sprint(h.Load.CPUs), size(h.Load.Free)+" of "+size(h.Load.Memory), ago(h.Silent.D())
		if h.Incarnation == "" { // known from what it was given to run
			load, cpus, memory, lastHeard = "-", "-", "-", "not yet"
		}
		rows = append(rows, []any{h.Name, h.State, h.Instances, load, cpus, memory, lastHeard})
	}
	a.section([]string{"host", "state", "instances", "load", "cpus", "memory free", "last heard"}, rows, "no host", 3, 4, 5)
	rows = nil
	for _, r := range st.Routers {
		epoch := "-"
		for _, s := range st.Services {
			if e, ok := r.Epochs[s.Name]; ok {
				epoch = e.String()
				if e != s.Epoch {
					epoch += " (behind)"
				}
			}
		}
		rows = append(rows, []any{r.ID, r.Address, epoch, ago(r.Silent.D())})
	}
	a.section([]string{"router", "address", "epoch", "last heard"}, rows, "no router")
}

// printDetail prints why something is not as it should be, if anything is wrong.
func (a *app) printDetail(about, detail string) {
	if detail != "" {
		fmt.Fprintf(a.Out, "%s: %s\n", console.Printable(about), console.Printable(detail))
	}
}

// completeShards counts the shards that have all their replicas.
func completeShards(t events.TableStatus) (n int) {
	for _, s := range t.Shards {
		if client.ProblemOf(s).What == "" {
			n++
		}
	}
	return n
}

func (a *app) section(header []string, rows [][]any, none string, right ...int) {
	fmt.Fprintln(a.Out)
	if len(rows) == 0 {
		fmt.Fprintln(a.Out, none)
		return
	}
	console.WriteTable(a.Out, header, rows, right...)
}

func ago(d time.Duration) string {
	return fmt.Sprintf("%.1fs ago", max(d, 0).Seconds())
}

func size(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	number, prefixes := float64(n)/unit, "KMGTPE"
	for number >= unit {
		number, prefixes = number/unit, prefixes[1:]
	}
	return fmt.Sprintf("%.1f %ciB", number, prefixes[0])
}
