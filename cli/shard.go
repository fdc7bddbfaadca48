package cli

import (
	"context"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"ringway/cli/config"
	"ringway/cli/console"
	"ringway/cli/listen"
	"ringway/events"
)

func (a *app) shardCommand() *cobra.Command {
	var o ShardOptions
	var logs console.LogFlags
	cmd := &cobra.Command{
		Use:   "shard",
		Short: "Run a shard server: it keeps replicas of a table's shards",
		Long: `Run a shard server: it keeps replicas of a table's shards, those for which the
routes name it. Agents start it; one that is started by hand waits until a route
names it, and no command has one do so yet.

With --engine auto it starts a MySQL or MariaDB server of its own where there is
a program for it, else it uses SQLite; a directory that holds one engine's data
stays with it. Without --id it takes its name from RINGWAY_ID or SERVER_ID,
without --listen its port from PORT, without --dsn that of RINGWAY_DSN, where
other users of the machine do not read the password.

With --dsn it uses a database of a server that somebody else runs. That has to
be a database of its own: one with other tables in it, or that of another shard
server, is refused and left alone. It stays with the directory of --data.`,
		Example: `  ringway shard --id Server0 --listen 127.0.0.1:7001 --data /var/lib/ringway/vol-1
  ringway shard --id Server0 --engine sqlite --nats nats://10.0.0.5:4222
  RINGWAY_DSN='app:secret@tcp(10.0.0.7:3306)/ringway' ringway shard --id Server0 --data /var/lib/ringway/vol-1`,
		Args: console.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.NATS, err = listen.NATSURL(o.NATS); err != nil {
				return err
			}
			o.Name = instanceName(o.Name)
			if err := events.ValidName(o.Name); err != nil {
				return console.Usage("--id: %s; give --id, or RINGWAY_ID or SERVER_ID in the environment", err)
			}
			if o.Listen, err = instanceAddress(o.Listen); err != nil {
				return err
			}
			if config.CheckEngine(o.Engine) != nil {
				return console.Usage("--engine %q: use auto, mysql or sqlite", o.Engine)
			}
			if o.DSN == "" {
				o.DSN = os.Getenv("RINGWAY_DSN")
			}
			if o.DSN != "" && o.Engine == "sqlite" {
				return console.Usage("--dsn is of a MySQL server, --engine is sqlite")
			}
			return a.role(cmd, &logs, &o.Role, func(ctx context.Context) error { return a.w.Shard(ctx, o) })
		},
	}
	cmd.Flags().StringVar(&o.NATS, "nats", listen.DefaultNATS, "the bus, host:port or URL")
	cmd.Flags().StringVar(&o.Name, "id", "", "name of this server, unique in the cluster")
	cmd.Flags().StringVar(&o.Listen, "listen", "", "address for routers and other shard servers (default :5000)")
	cmd.Flags().StringVar(&o.Data, "data", filepath.Join(".ringway", "shard"), "directory of the data; one server at a time uses it")
	cmd.Flags().StringVar(&o.Engine, "engine", "auto", "auto, mysql or sqlite")
	cmd.Flags().StringVar(&o.DSN, "dsn", "", "a MySQL or MariaDB server that runs already, user:password@tcp(host:port)/database")
	logs.Add(cmd)
	return cmd
}
