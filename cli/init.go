package cli

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringway/cli/client"
	"ringway/cli/config"
	"ringway/cli/console"
	"ringway/events"
)

// initTimeout covers starting database servers, which take their time on
// their first day.
const initTimeout = 3 * time.Minute

// initFlags describe the table.
type initFlags struct {
	file, engine              string
	servers, shards, replicas int
	size                      int64
	course                    bool
}

func (a *app) initCommand() *cobra.Command {
	var f client.Flags
	var o initFlags
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the database: a table, cut into shards, on shard servers",
		Long: `Make the database: a table, cut into shards, on shard servers. Answers when every
replica of every shard is ready.

Without --file it is the table of the course, StudT(Stud_id, Stud_name,
Stud_marks), its shards sh1, sh2, … one after the other from id 0. A file is
YAML, or JSON as the course's /init takes it; this is what --course makes:

  table: StudT                  # may be left out, like all but shards and servers
  schema:
    columns: [Stud_id, Stud_name, Stud_marks]    # the first is the key
    dtypes: [Number, String, String]
  shards:
    - {id: sh1, low: 0, size: 4096}              # keys 0 to 4095
    - {id: sh2, low: 4096, size: 4096}
    - {id: sh3, low: 8192, size: 4096}
    - {id: sh4, low: 12288, size: 4096}
  servers:                      # or only how many: they are filled evenly
    Server0: [sh1, sh2]
    Server1: [sh3, sh4]
    Server3: [sh1, sh3]
    Server4: [sh4, sh2]
    Server5: [sh1, sh4]
    Server6: [sh3, sh2]
  replicas: 3                   # copies of each shard that no server names
  engine: auto                  # mysql, sqlite, or the first that can be had`,
		Example: `  ringway init
  ringway init --servers 4 --shards 8 --size 100000
  ringway init --course
  ringway init --file table.yaml -o json`,
		Args: console.NoArgs,
	}
	f.Add(cmd, initTimeout)
	cmd.Flags().StringVar(&o.file, "file", "", "YAML or JSON file that describes the table, in place of the flags below")
	cmd.Flags().BoolVar(&o.course, "course", false, "the configuration of the course's analyses: 6 servers, 4 shards, placed")
	cmd.Flags().IntVar(&o.servers, "servers", 6, "shard servers")
	cmd.Flags().IntVar(&o.shards, "shards", 4, "shards")
	cmd.Flags().Int64Var(&o.size, "size", 4096, "keys of each shard")
	cmd.Flags().IntVar(&o.replicas, "replicas", events.DefaultShardReplicas, "copies of each shard, as far as there are servers")
	cmd.Flags().StringVar(&o.engine, "engine", "auto", "what keeps the rows: auto, mysql or sqlite")
	output := console.OutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		req, err := o.request(cmd)
		if err != nil {
			return err
		}
		req.ID = rand.Text()
		return a.With(cmd, &f, func(ctx context.Context, c client.Cluster) error {
			var reply events.ServersReply
			doing := fmt.Sprintf("starting %d shard servers for %d shards", req.N, len(req.Table.Shards))
			if err := a.Request(ctx, c, f.Timeout, events.APIInit, doing, req, &reply); err != nil {
				return err
			}
			if *output == console.AsJSON {
				return console.WriteJSON(a.Out, reply)
			}
			fmt.Fprintf(a.Out, "%-8s %s\n%-8s %s\n", "table", console.Printable(reply.Table), "servers", console.Printable(strings.Join(reply.Added, " ")))
			return nil
		})
	}
	return cmd
}

// request is what the flags, or the file, ask for.
func (o *initFlags) request(cmd *cobra.Command) (events.InitRequest, error) {
	for _, whole := range []string{"file", "course"} {
		for _, name := range []string{"file", "course", "servers", "shards", "size", "replicas"} {
			if whole != name && cmd.Flags().Changed(whole) && cmd.Flags().Changed(name) {
				return events.InitRequest{}, console.Usage("--%s says all of --%s; leave one of them out", whole, name)
			}
		}
	}
	if err := config.CheckEngine(o.engine); err != nil {
		return events.InitRequest{}, console.Usage("--%w", err)
	}
	req, err := o.wanted()
	if err == nil && cmd.Flags().Changed("engine") {
		req.Engine = o.engine
	}
	return req, err
}

func (o *initFlags) wanted() (events.InitRequest, error) {
	switch {
	case o.file != "":
		table, err := config.LoadTable(o.file)
		return table.Request, err
	case o.course:
		return courseDatabase(), nil
	case o.servers < 1 || o.servers > events.MaxShardServers:
		return events.InitRequest{}, console.Usage("--servers %d: use 1 to %d", o.servers, events.MaxShardServers)
	case o.shards < 1 || o.shards > events.MaxShards:
		return events.InitRequest{}, console.Usage("--shards %d: use 1 to %d", o.shards, events.MaxShards)
	case o.size < 1 || o.size > 1<<53/int64(o.shards):
		return events.InitRequest{}, console.Usage("--size %d: use 1 to %d", o.size, 1<<53/int64(o.shards))
	case o.replicas < 1 || o.replicas > events.MaxShardServers:
		return events.InitRequest{}, console.Usage("--replicas %d: use 1 to %d", o.replicas, events.MaxShardServers)
	}
	return events.InitRequest{N: o.servers, Replicas: o.replicas, Table: config.CourseTable(o.shards, o.size)}, nil
}

// courseDatabase is the default configuration of assignment 2.
func courseDatabase() events.InitRequest {
	return events.InitRequest{N: 6, Table: config.CourseTable(4, 4096), Servers: []events.Placement{
		{Name: "Server0", Shards: []string{"sh1", "sh2"}},
		{Name: "Server1", Shards: []string{"sh3", "sh4"}},
		{Name: "Server3", Shards: []string{"sh1", "sh3"}},
		{Name: "Server4", Shards: []string{"sh4", "sh2"}},
		{Name: "Server5", Shards: []string{"sh1", "sh4"}},
		{Name: "Server6", Shards: []string{"sh3", "sh2"}},
	}}
}
