// Package catalog is what a router knows of the tables: their routes as one
// immutable snapshot, the replicas of their shards, and what reads have to see.
package catalog

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringway/events"
	"ringway/internal/notify"
	"ringway/router/database/background"
	"ringway/router/database/shardclient"
	"ringway/router/routes"
)

// Catalog holds the tables. New starts nothing; Run does.
type Catalog struct {
	*routes.Set // which the snapshot serves
	cfg         shardclient.Config
	group       *background.Group // for requests to shard servers

	tables  atomic.Pointer[Tables]
	news    notify.Signal                  // a shard may be new
	mu      sync.Mutex                     // orders the writers of tables
	clients map[string]*shardclient.Client // by address; under mu
}

// New is a catalog without a table.
func New(cfg shardclient.Config, group *background.Group, registry prometheus.Registerer, log *slog.Logger) *Catalog {
	c := &Catalog{cfg: cfg, group: group, news: notify.NewSignal(), clients: map[string]*shardclient.Client{}}
	refused := prometheus.NewCounter(prometheus.CounterOpts{Name: "ringway_router_refused_tables_total",
		Help: "Routes of tables that could not be served; the last good one stayed."})
	registry.MustRegister(refused)
	c.Set = routes.New(routes.Config{
		Prefix: events.TableKey(""), Of: events.KeyTable, Name: "route of a table", Log: log, Refused: refused, Serve: c.serve, Drop: c.drop,
	})
	c.tables.Store(&Tables{})
	return c
}

// Run ends connections that nobody has used for long, and all when ctx ends.
func (c *Catalog) Run(ctx context.Context) {
	tick := time.NewTicker(c.cfg.Keep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			c.mu.Lock()
			for _, client := range c.clients {
				client.Expire(now.Add(-c.cfg.Keep))
			}
			c.mu.Unlock()
		}
	}
}

// Close ends all connections. Nothing is asked any more.
func (c *Catalog) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, client := range c.clients {
		client.Retire()
	}
}

// Tables is the newest snapshot.
func (c *Catalog) Tables() *Tables { return c.tables.Load() }

// News has a value when a shard may have been seen for the first time. One
// goroutine may receive from it.
func (c *Catalog) News() <-chan struct{} { return c.news }

// Heard notes that the bus or a leader was heard, and told all tables.
func (c *Catalog) Heard() {
	if c.Tables().heard { // Fast path
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	next := *c.Tables()
	next.heard = true
	c.tables.Store(&next)
}

// serve compiles a route and takes it into service.
func (c *Catalog) serve(name string, k routes.Known) (about []any, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, err := c.compile(name, k)
	if err != nil {
		return nil, err
	}
	c.replace(name, t)
	return []any{"servers", len(t.Route.Servers), "shards", len(t.Shards)}, nil
}

func (c *Catalog) drop(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.replace(name, nil)
}

// replace publishes a snapshot in which t serves name; nil: nobody does. The
// caller holds mu.
func (c *Catalog) replace(name string, t *Table) {
	next := c.Tables().with(name, t)
	c.tables.Store(next)
	used := map[*shardclient.Client]bool{}
	for _, one := range next.all {
		for _, s := range one.Shards {
			for _, r := range s.Replicas {
				used[r.Client] = true
			}
		}
	}
	for address, client := range c.clients {
		if !used[client] {
			client.Retire()
			delete(c.clients, address)
		}
	}
	c.news.Notify()
}

// replica is what is known of a replica on server, or a new one. The caller
// holds mu.
func (c *Catalog) replica(before *Shard, server events.TableServer) *Replica {
	if before != nil {
		if r := before.Replicas[server.Name]; r != nil && r.Client.Address() == server.Address {
			return r
		}
	}
	client := c.clients[server.Address]
	if client == nil {
		client = shardclient.New(&c.cfg, server.Address, c.group)
		c.clients[server.Address] = client
	}
	return &Replica{Server: server.Name, Client: client, avoidFor: c.cfg.Avoid}
}
