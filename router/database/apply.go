package database

import (
	"context"
	"encoding/json"
	"strings"

	"ringway/events"
)

// Apply takes one value of BucketRoutes; it reports whether another route is
// served now. A route that cannot be served is refused and the last good one
// stays. Keys that are not of a table are not its business.
func (d *Database) Apply(e events.Entry) bool {
	name, ok := strings.CutPrefix(e.Key, events.TableKey(""))
	if !ok {
		return false
	}
	d.swap.Lock()
	defer d.swap.Unlock()
	switch e.News(d.epochOf(name)) {
	case events.Stale:
		return false
	case events.Wiped:
		d.log.Warn("the bus does not know this table, its last route stays", events.KeyTable, name, events.KeyEpoch, e.Version.String())
		return false
	case events.Gone:
		d.log.Info("table is gone", events.KeyTable, name, events.KeyEpoch, e.Version.String())
		d.replace(name, nil)
		return true
	case events.Fresh:
	}
	t, err := d.compile(name, e.Version, e.Value)
	if err != nil {
		d.metrics.refused.Inc()
		d.log.Error("route of a table refused, the last good one stays", events.KeyTable, name, events.KeyEpoch, e.Version.String(), events.KeyError, err)
		return false
	}
	d.replace(name, t)
	d.log.Info("route of a table changed", events.KeyTable, name, events.KeyEpoch, t.epoch.String(), "servers", len(t.route.Servers), "shards", len(t.shards))
	return true
}

// Known is a route that is served, for a cache.
type Known struct {
	Epoch events.Epoch
	Route json.RawMessage
}

// Known is what is served now, by table.
func (d *Database) Known() map[string]Known {
	all := map[string]Known{}
	for name, t := range d.tables.Load().all {
		all[name] = Known{t.epoch, t.value}
	}
	return all
}

// Remember takes a route from a cache into service.
func (d *Database) Remember(name string, k Known) error {
	d.swap.Lock()
	defer d.swap.Unlock()
	t, err := d.compile(name, k.Epoch, k.Route)
	if err != nil {
		return err
	}
	d.replace(name, t)
	return nil
}

// Epochs are those that are served, by table; nil without any.
func (d *Database) Epochs() map[string]events.Epoch {
	all := d.tables.Load().all
	if len(all) == 0 {
		return nil
	}
	epochs := make(map[string]events.Epoch, len(all))
	for name, t := range all {
		epochs[name] = t.epoch
	}
	return epochs
}

// Behind tells whether the leader serves an epoch that this router does not.
func (d *Database) Behind(leader map[string]events.Epoch) bool {
	return events.IsNewer(leader, d.epochOf)
}

// epochOf is the epoch of a table that is served; zero if none is.
func (d *Database) epochOf(name string) events.Epoch {
	if t := d.tables.Load().all[name]; t != nil {
		return t.epoch
	}
	return events.Epoch{}
}

// await returns when the epoch of a table, or a later one, is served.
func (d *Database) await(ctx context.Context, name string, epoch events.Epoch) error {
	for {
		d.swap.Lock()
		t, news := d.tables.Load().all[name], d.news
		d.swap.Unlock()
		if epoch.Zero() || t != nil && (t.epoch == epoch || t.epoch.After(epoch)) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-news:
		}
	}
}
