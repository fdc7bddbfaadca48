// Package database is the router's side of the sharded database: it answers the
// endpoints of tables. What it knows of them is in catalog; reads and writes
// have a package each.
package database

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringway/events"
	"ringway/events/oplog"
	"ringway/events/shardlog"
	"ringway/router/database/background"
	"ringway/router/database/catalog"
	"ringway/router/database/read"
	"ringway/router/database/shardclient"
	"ringway/router/database/write"
	"ringway/router/routes"
)

// Config is what can be tuned. Start from DefaultConfig.
type Config struct {
	Scale   time.Duration // /init, /add and /rm: longest wait for the outcome; a database server may have to be set up
	Read    read.Config
	Write   write.Config
	Servers shardclient.Config // how shard servers are asked
}

// DefaultConfig is what `ringway up` uses.
func DefaultConfig() Config {
	return Config{Scale: 150 * time.Second, Read: read.DefaultConfig(), Write: write.DefaultConfig(), Servers: shardclient.DefaultConfig()}
}

// Logs are the logs of shards.
type Logs interface {
	oplog.Log
	// State is what a log holds now.
	State(ctx context.Context, log events.LogID) (shardlog.LogState, error)
}

// Leader decides. Ask sends req, always with the same id, until the leader
// answers or ctx ends: its *events.StatusError, events.ErrNoLeader if nobody can
// have acted on it, or events.ErrUnknownOutcome.
type Leader interface {
	Ask(ctx context.Context, verb string, req, reply any) error
}

// Database serves all tables. New starts nothing; Run does.
type Database struct {
	cfg     Config
	leader  Leader
	catalog *catalog.Catalog
	reader  *read.Reader
	writer  *write.Writer
	group   *background.Group
	began   chan struct{} // closed once Run runs
}

// New builds a database without a table.
func New(cfg Config, logs Logs, results oplog.Listener, leader Leader, registry prometheus.Registerer, log *slog.Logger) (*Database, error) {
	d := &Database{cfg: cfg, leader: leader, group: &background.Group{}, began: make(chan struct{})}
	d.catalog = catalog.New(cfg.Servers, d.group, registry, log)
	var err error
	if d.writer, err = write.New(cfg.Write, cfg.Servers.Hedge, d.catalog, d.group, logs, results, registry, log); err != nil {
		return nil, fmt.Errorf("new database: %w", err)
	}
	d.reader = read.New(cfg.Read, cfg.Servers.Hedge, d.catalog, d.group, logs, d.writer, registry, log)
	return d, nil
}

// Began is closed once Run runs. Clients that come before are refused.
func (d *Database) Began() <-chan struct{} { return d.began }

// Run serves until ctx ends, and returns when all that it started has ended.
// End the clients first. It is called once.
func (d *Database) Run(ctx context.Context) {
	var loops sync.WaitGroup
	loops.Go(func() { d.group.Run(ctx, func() { close(d.began) }) })
	loops.Go(func() { d.writer.Run(ctx) })
	loops.Go(func() { d.reader.Run(ctx) })
	loops.Go(func() { d.catalog.Run(ctx) })
	loops.Wait()
	d.catalog.Close()
}

// Apply is that of the tables' routes.
func (d *Database) Apply(e events.Entry) bool {
	changed := d.catalog.Apply(e)
	if changed {
		d.prepare()
	}
	return changed
}

// Heard notes that the bus or a leader was heard, and told all tables.
func (d *Database) Heard() { d.catalog.Heard() }

// Remember is that of the tables' routes.
func (d *Database) Remember(name string, k routes.Known) error {
	err := d.catalog.Remember(name, k)
	d.prepare()
	return err
}

// prepare makes the metrics of all tables begin at zero.
func (d *Database) prepare() {
	for name := range d.catalog.Tables().All() {
		d.reader.Prepare(name)
		d.writer.Prepare(name)
	}
}

// Routes are those of the tables.
func (d *Database) Routes() *routes.Set { return d.catalog.Set }

// Tables are those that are served, by name, for people.
func (d *Database) Tables() []catalog.TableView { return d.catalog.Views() }
