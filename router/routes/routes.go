// Package routes decides which of the stored routes a router serves, those of
// services and of tables alike: the newest. One that cannot be served is refused,
// and the last good one stays.
package routes

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"ringway/events"
	"ringway/events/follow"
	"ringway/internal/notify"
)

// Known is a route that is served.
type Known struct {
	Epoch events.Epoch
	Route json.RawMessage // as it came
}

// Config says what the routes are of, and who serves them.
type Config struct {
	Prefix  string // of their keys in the bucket
	Of      string // events.KeyService or events.KeyTable
	Name    string // of such a route, for people
	Log     *slog.Logger
	Refused prometheus.Counter

	// Serve takes a route into service, and returns what its log line says beside
	// the epoch. Drop takes the one of a name out. Neither runs beside another.
	Serve func(name string, k Known) (about []any, err error)
	Drop  func(name string)
}

// Set is all routes of one kind.
type Set struct {
	cfg     Config
	mu      sync.Mutex
	known   map[string]Known // under mu; set once it is served
	changed notify.Cond      // known, under mu
}

// New knows no route.
func New(cfg Config) *Set { return &Set{cfg: cfg, known: map[string]Known{}} }

// Apply takes one value of BucketRoutes, and reports whether another route is
// served for it. Keys of another kind are ignored.
func (s *Set) Apply(e events.Entry) (changed bool) {
	name, ok := strings.CutPrefix(e.Key, s.cfg.Prefix)
	if !ok {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.cfg.Log.With(s.cfg.Of, name, events.KeyEpoch, e.Version.String())
	switch e.News(s.known[name].Epoch) {
	case events.Stale:
		return false
	case events.Wiped:
		log.Warn("the bus does not know this " + s.cfg.Of + ", its last route stays")
		return false
	case events.Gone:
		log.Info(s.cfg.Of + " is gone")
		s.cfg.Drop(name)
		delete(s.known, name)
		s.changed.Broadcast()
		return true
	case events.Fresh:
	}
	about, err := s.serve(name, Known{e.Version, e.Value})
	if err != nil {
		s.cfg.Refused.Inc()
		log.Error(s.cfg.Name+" refused, the last good one stays", events.KeyError, err)
		return false
	}
	log.Info(s.cfg.Name+" changed", about...)
	return true
}

// Remember takes a route from a cache into service.
func (s *Set) Remember(name string, k Known) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.serve(name, k)
	return err
}

func (s *Set) serve(name string, k Known) (about []any, err error) {
	k.Route = slices.Clone(k.Route)
	if about, err = s.cfg.Serve(name, k); err == nil {
		s.known[name] = k
		s.changed.Broadcast()
	}
	return about, err
}

// Known is what is served now, by name.
func (s *Set) Known() map[string]Known {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.known)
}

// Epochs are those that are served, by name.
func (s *Set) Epochs() map[string]events.Epoch {
	epochs := map[string]events.Epoch{}
	for name, k := range s.Known() {
		epochs[name] = k.Epoch
	}
	return epochs
}

// Behind reports whether the leader serves an epoch that this router does not.
func (s *Set) Behind(leader map[string]events.Epoch) bool {
	known := s.Known()
	return follow.IsNewer(leader, func(name string) events.Epoch { return known[name].Epoch })
}

// Await returns when the epoch of a name, or a later one, is served.
func (s *Set) Await(ctx context.Context, name string, epoch events.Epoch) error {
	return s.changed.Await(ctx, &s.mu, func() bool {
		served := s.known[name].Epoch
		return epoch.Zero() || served == epoch || served.After(epoch)
	})
}
