package cli

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ringway/cli/client"
	"ringway/cli/console"
	"ringway/events"
)

func (a *app) psCommand() *cobra.Command {
	return a.Listing(&cobra.Command{
		Use:   "ps",
		Short: "List the replicas and the shard servers",
		Long: `List the replicas of services, and the shard servers of tables: where each runs,
its state, and whether it gets requests. What shard servers keep is in 'ringway shards'.

States: pending, starting, ready, unready, stopping, dead.`,
		Example: `  ringway ps
  ringway ps -o json | jq -r '.[] | select(.state != "ready") | .name'`,
		Args: console.NoArgs,
	}, func(_ context.Context, _ client.Cluster, st events.Status) (any, func()) {
		instances := append([]events.InstanceReport{}, st.Instances...) // [] and not null
		return instances, func() { a.printInstances(instances, time.Now()) }
	})
}

func (a *app) printInstances(all []events.InstanceReport, now time.Time) {
	var rows [][]any
	for _, i := range all {
		serving, pid := "no", "-"
		if i.Serving {
			serving = "yes"
		}
		if i.PID != 0 {
			pid = fmt.Sprint(i.PID)
		}
		rows = append(rows, []any{i.Name, i.Service, i.ID, cmp.Or(i.Host, "-"), i.State, serving, cmp.Or(i.Address, "-"), pid, age(i.Started, now), i.Detail})
	}
	console.WriteTable(a.Out, []string{"name", "service", "id", "host", "state", "serving", "address", "pid", "age", "detail"}, rows, 3, 8)
}

// age is how long ago something was, as briefly as a person needs it.
func age(then, now time.Time) string {
	d := now.Sub(then)
	switch {
	case then.IsZero():
		return "-"
	case d < time.Second: // clocks of hosts differ
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
