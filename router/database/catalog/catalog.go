// Package catalog is what a router knows of the tables: their routes as one
// immutable snapshot, the replicas of their shards, and what reads have to see.
package catalog

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringway/events"
	"ringway/events/follow"
	"ringway/internal/notify"
	"ringway/router/database/background"
	"ringway/router/database/shardclient"
)

// Catalog holds the tables. New starts nothing; Run does.
type Catalog struct {
	cfg     shardclient.Config
	group   *background.Group // for requests to shard servers
	log     *slog.Logger
	refused prometheus.Counter

	tables  atomic.Pointer[Tables]
	news    notify.Signal                  // a shard may be new
	swap    sync.Mutex                     // orders the writers of tables
	changed notify.Cond                    // another snapshot; under swap
	clients map[string]*shardclient.Client // by address; under swap
}

// New is a catalog without a table.
func New(cfg shardclient.Config, group *background.Group, registry prometheus.Registerer, log *slog.Logger) *Catalog {
	c := &Catalog{
		cfg: cfg, group: group, log: log,
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringway_router_refused_tables_total",
			Help: "Routes of tables that could not be served; the last good one stayed."}),
		news: notify.NewSignal(), clients: map[string]*shardclient.Client{},
	}
	registry.MustRegister(c.refused)
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
			c.swap.Lock()
			for _, client := range c.clients {
				client.Expire(now.Add(-c.cfg.Keep))
			}
			c.swap.Unlock()
		}
	}
}

// Close ends all connections. Nothing is asked any more.
func (c *Catalog) Close() {
	c.swap.Lock()
	defer c.swap.Unlock()
	for _, client := range c.clients {
		client.Retire()
	}
}

// Tables is the newest snapshot.
func (c *Catalog) Tables() *Tables { return c.tables.Load() }

// News has a value when a shard may have been seen for the first time. One
// goroutine may receive from it.
func (c *Catalog) News() <-chan struct{} { return c.news }

// Apply takes one value of BucketRoutes; it reports whether another route is
// served now. A route that cannot be served is refused and the last good one
// stays. Keys that are not of a table are ignored.
func (c *Catalog) Apply(e events.Entry) bool {
	name, ok := strings.CutPrefix(e.Key, events.TableKey(""))
	if !ok {
		return false
	}
	c.swap.Lock()
	defer c.swap.Unlock()
	switch e.News(c.epochOf(name)) {
	case events.Stale:
		return false
	case events.Wiped:
		c.log.Warn("the bus does not know this table, its last route stays", events.KeyTable, name, events.KeyEpoch, e.Version.String())
		return false
	case events.Gone:
		c.log.Info("table is gone", events.KeyTable, name, events.KeyEpoch, e.Version.String())
		c.replace(name, nil)
		return true
	case events.Fresh:
	}
	t, err := c.compile(name, e.Version, e.Value)
	if err != nil {
		c.refused.Inc()
		c.log.Error("route of a table refused, the last good one stays", events.KeyTable, name, events.KeyEpoch, e.Version.String(), events.KeyError, err)
		return false
	}
	c.replace(name, t)
	c.log.Info("route of a table changed", events.KeyTable, name, events.KeyEpoch, t.Epoch.String(), "servers", len(t.Route.Servers), "shards", len(t.Shards))
	return true
}

// Known is a route that is served, for a cache.
type Known struct {
	Epoch events.Epoch
	Route json.RawMessage
}

// Known is what is served now, by table.
func (c *Catalog) Known() map[string]Known {
	all := map[string]Known{}
	for name, t := range c.Tables().all {
		all[name] = Known{t.Epoch, t.value}
	}
	return all
}

// Remember takes a route from a cache into service.
func (c *Catalog) Remember(name string, k Known) error {
	c.swap.Lock()
	defer c.swap.Unlock()
	t, err := c.compile(name, k.Epoch, k.Route)
	if err != nil {
		return err
	}
	c.replace(name, t)
	return nil
}

// Epochs are those that are served, by table; nil without any.
func (c *Catalog) Epochs() map[string]events.Epoch {
	all := c.Tables().all
	if len(all) == 0 {
		return nil
	}
	epochs := make(map[string]events.Epoch, len(all))
	for name, t := range all {
		epochs[name] = t.Epoch
	}
	return epochs
}

// Behind reports whether the leader serves an epoch that this router does not.
func (c *Catalog) Behind(leader map[string]events.Epoch) bool {
	return follow.IsNewer(leader, c.epochOf)
}

// epochOf is the epoch of a table that is served; zero if none is.
func (c *Catalog) epochOf(name string) events.Epoch {
	if t := c.Tables().all[name]; t != nil {
		return t.Epoch
	}
	return events.Epoch{}
}

// Await returns when the epoch of a table, or a later one, is served.
func (c *Catalog) Await(ctx context.Context, name string, epoch events.Epoch) error {
	return c.changed.Await(ctx, &c.swap, func() bool {
		t := c.Tables().all[name]
		return epoch.Zero() || t != nil && (t.Epoch == epoch || t.Epoch.After(epoch))
	})
}

// replace publishes a snapshot in which t serves name; nil: nobody does. The
// caller holds swap.
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
	c.changed.Broadcast()
	c.news.Notify()
}

// replica is what is known of a replica on server, or a new one. The caller
// holds swap.
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
