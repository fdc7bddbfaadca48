package router

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"ringway/events"
	"ringway/internal/statedir"
	"ringway/router/routes"
)

// cached is one route in the cache file, so that a router that starts while
// the bus is away can serve. The file is a list of them.
type cached struct {
	Service string          `json:"service,omitempty"`
	Table   string          `json:"table,omitempty"` // instead of a service
	Epoch   events.Epoch    `json:"epoch"`
	Route   json.RawMessage `json:"route"`
}

// loadCache takes the routes of the cache file into service. A file that
// cannot be used is left alone and not applied.
func (r *Router) loadCache() {
	if r.cfg.Cache == "" {
		return
	}
	raw, err := os.ReadFile(r.cfg.Cache)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var all []cached
	if err == nil {
		err = json.Unmarshal(raw, &all)
	}
	if err != nil {
		r.log.Warn("cached routes are ignored", "file", r.cfg.Cache, events.KeyError, err)
		return
	}
	for _, c := range all {
		key, name, known, err := events.KeyService, c.Service, routes.Known{Epoch: c.Epoch, Route: c.Route}, error(nil)
		if c.Table != "" {
			key, name = events.KeyTable, c.Table
			err = r.database.Remember(name, known)
		} else if err = r.proxy.Remember(name, known); err == nil {
			r.swaps.Inc()
		}
		if err != nil {
			r.log.Warn("cached route is ignored", "file", r.cfg.Cache, key, name, events.KeyError, err)
			continue
		}
		r.log.Info("cached route served until the bus has a newer one", key, name, events.KeyEpoch, c.Epoch.String())
		r.heartbeatNow.Notify() // Run sends it first
	}
}

// saveCache writes each snapshot to the cache file, the newest if they come
// fast. It is apart from the watch so that a slow or full disk delays no route.
func (r *Router) saveCache(ctx context.Context) {
	if r.cfg.Cache == "" {
		<-ctx.Done()
		return
	}
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for failing := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-r.saveNow:
		case <-retry.C:
		}
		err := r.save()
		if err != nil {
			if !failing {
				r.log.Warn("routes cannot be cached", "file", r.cfg.Cache, events.KeyError, err)
			}
			retry.Reset(5 * time.Second)
		}
		failing = err != nil
	}
}

// save replaces the file at once or not at all.
func (r *Router) save() error {
	all := []cached{}
	for name, k := range r.proxy.Known() {
		all = append(all, cached{Service: name, Epoch: k.Epoch, Route: k.Route})
	}
	for name, k := range r.database.Routes().Known() {
		all = append(all, cached{Table: name, Epoch: k.Epoch, Route: k.Route})
	}
	raw, err := json.Marshal(all)
	if err == nil {
		err = statedir.WriteFile(r.cfg.Cache, raw)
	}
	if err != nil {
		return fmt.Errorf("save routes: %w", err)
	}
	return nil
}
