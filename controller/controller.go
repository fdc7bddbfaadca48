// Package controller decides: which instances a service has, on which host
// each runs, and what routers obey.
//
// Of all controllers one leads at a time. decide is a function of what is
// stored, what was heard and the time; everything else carries its decisions
// out by compare-and-set, so that a leader that was overtaken can change
// nothing. Every stored value carries the events that explain it, and they are
// published after it: what happened can be read afterwards even when a leader
// dies in between.
package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"ringway/events"
)

// Config of a controller.
type Config struct {
	ID          string          // unique among controllers
	Version     string          // of this program, shown by the micro service
	Services    []ServiceConfig // what the configuration asks for
	Tables      []TableConfig
	Servers     []ServersConfig
	ExpectHosts int // hosts to wait for before the first placement; 0: SuspectAfter decides

	SuspectAfter        time.Duration // silence until a host is out of rotation
	LostAfter           time.Duration // silence until a host's instances are replaced elsewhere
	ForgetAfter         time.Duration // silence until a host with nothing assigned is not listed any more
	IsolatedAfter       time.Duration // without its own heartbeat a leader does not judge others' silence
	ReplaceUnreadyAfter time.Duration // failing probes until an instance is replaced
	YoungAge            time.Duration // an instance that dies younger makes its replacement wait
	RetryMin, RetryMax  time.Duration // bounds of that wait, doubling
	RequestTimeout      time.Duration // longest wait of a request for its effect
	RememberedRequests  int           // requests that are known again when repeated

	TableTimeout   time.Duration // longest wait of a request about a table: database servers take long to begin
	MoveAfter      time.Duration // silence until what a host keeps of a shard is filled elsewhere
	RestartTimeout time.Duration // for a renewed shard server to be ready, unless it is still being filled
	CreateLogEvery time.Duration // between attempts to make a log
	PurgeEvery     time.Duration // at least, between purges of a log
	MinPurge       uint64        // entries that a purge must free
	KeepTail       uint64        // newest entries that all have and that stay, for those who reconnect or look

	LeaseValid  time.Duration // after sending a renewal a leader may decide for so long; below the bucket's TTL of 4 s
	RenewEvery  time.Duration // between renewals, and between a standby's attempts
	CallTimeout time.Duration // of one call to the bus
}

// DefaultConfig is what DESIGN.md promises.
func DefaultConfig() Config {
	return Config{
		SuspectAfter: 1500 * time.Millisecond, LostAfter: 8 * time.Second, ForgetAfter: 10 * time.Minute, IsolatedAfter: 1200 * time.Millisecond,
		ReplaceUnreadyAfter: 30 * time.Second, YoungAge: 10 * time.Second, RetryMin: 500 * time.Millisecond, RetryMax: 30 * time.Second,
		RequestTimeout: 60 * time.Second, RememberedRequests: 64,
		TableTimeout: 120 * time.Second, MoveAfter: 60 * time.Second, RestartTimeout: 3 * time.Minute, CreateLogEvery: time.Second,
		PurgeEvery: 10 * time.Second, MinPurge: 1000, KeepTail: 1000,
		LeaseValid: 3 * time.Second, RenewEvery: time.Second, CallTimeout: 2 * time.Second,
	}
}

// ServiceConfig is what the configuration says of one service. Overlay puts it
// onto the service's stored or default settings. It is applied when ConfigHash
// changes, and not again after people have asked for something else. An empty
// ConfigHash only makes sure that there is a service.
type ServiceConfig struct {
	Name       string
	ConfigHash string
	Overlay    func(base events.ServiceSpec) (events.ServiceSpec, error)
}

// TableConfig is a table that the configuration asks for. It is created when it
// does not exist; a file that says something else later does not change it.
type TableConfig struct {
	ConfigHash string
	Request    events.InitRequest
}

// ServersConfig is what the configuration says of a table's shard servers. It
// follows the rules of a ServiceConfig, for a table that exists, however it came.
type ServersConfig struct {
	Table      string
	ConfigHash string
	Overlay    func(base events.ServerSpec) (events.ServerSpec, error)
}

// Bus is what a controller needs of the bus.
type Bus interface {
	// Publish sends without waiting and without any promise.
	Publish(subject string, v any) error
	// Listen calls fn in order, until stop.
	Listen(subject string, fn func(subject string, data []byte)) (stop func(), err error)
	// Emit returns when the event is stored; an event that is there already is success.
	Emit(ctx context.Context, e events.Event) error
	// Emitted reports whether e is the newest event on its subject.
	Emitted(ctx context.Context, e events.Event) (bool, error)
	// Serve answers ringway.api requests, concurrently, until stop, which
	// returns when the last handler has.
	Serve(ctx context.Context, version string, info map[string]string, verbs map[string]func(context.Context, []byte) (any, error)) (stop func(), err error)
}

// Open opens a bucket of the control plane as it is now.
type Open func(ctx context.Context, name string) (Bucket, error)

// Bucket is a compare-and-set store. Writes fail with events.ErrConflict when
// another writer was first.
type Bucket interface {
	Entries(ctx context.Context) ([]events.Entry, error)
	// Watch calls fn for every value and every change of it until ctx ends.
	Watch(ctx context.Context, filter string, fn func(events.Entry)) error
	Get(ctx context.Context, key string) (events.Entry, error)
	// Former are the values of key that are still kept, newest first.
	Former(ctx context.Context, key string) ([]events.Entry, error)
	Create(ctx context.Context, key string, value []byte) (events.Version, error)
	Update(ctx context.Context, key string, value []byte, last events.Version) (events.Version, error)
	Delete(ctx context.Context, key string, last events.Version) error
	// BeginAnew makes all versions of before foreign to the bucket, and keeps its values.
	BeginAnew(ctx context.Context, why events.Rollback) error
	// Rewind is why the bucket's present life was begun so; nil if it was not.
	Rollback() *events.Rollback
}

// Controller leads or stands by.
type Controller struct {
	cfg    Config
	leader *leader
	log    *slog.Logger
}

// Logs makes and deletes the logs of shards.
type Logs interface {
	// CreateLog makes a log, or finds it there; events.ErrLogForeign if there is another life of it.
	CreateLog(ctx context.Context, id events.LogID, first uint64) (events.LogState, error)
	// LogState is of whatever life of the shard's log is there; events.ErrLogMissing if none.
	LogState(ctx context.Context, table, shard string) (events.LogState, error)
	// DeleteLog deletes this life of a log; one that is not there is success.
	DeleteLog(ctx context.Context, id events.LogID) error
	// PurgeLog drops what lies before below.
	PurgeLog(ctx context.Context, id events.LogID, below uint64) error
}

// New makes a controller; Run starts it.
func New(cfg Config, bus Bus, open Open, logs Logs, log *slog.Logger) (*Controller, error) {
	if cfg.ID == "" {
		return nil, errors.New("controller: an id is needed")
	}
	if cfg.LeaseValid <= cfg.RenewEvery || cfg.LostAfter <= cfg.SuspectAfter || cfg.MoveAfter < cfg.LostAfter {
		return nil, fmt.Errorf("controller: LeaseValid (%s) must exceed RenewEvery (%s), MoveAfter (%s) LostAfter (%s), and that SuspectAfter (%s)",
			cfg.LeaseValid, cfg.RenewEvery, cfg.MoveAfter, cfg.LostAfter, cfg.SuspectAfter)
	}
	log = log.With(events.KeyRole, "controller")
	plan := func(s *state) planner { return newPlan(s) }
	return &Controller{cfg: cfg, leader: newLeader(cfg, bus, open, logs, plan, log), log: log}, nil
}

// Run stands by until it can lead, leads until it loses the lease, and so on
// until ctx ends. A bus that is away is waited for.
func (c *Controller) Run(ctx context.Context) error {
	var waiting string
	for {
		l, err := c.leader.campaign(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			waiting = ""
			c.log.Info("term begun", events.KeyToken, l.token)
			err = c.leader.lead(ctx, l)
			if ctx.Err() != nil {
				return nil
			}
			c.log.Warn("term ended", events.KeyToken, l.token, events.KeyError, err)
		case errors.Is(err, events.ErrConflict):
			if waiting != "standby" {
				c.log.Info("standing by: another controller leads")
			}
			waiting = "standby"
		case waiting != err.Error():
			c.log.Warn("cannot stand for election", events.KeyError, err)
			waiting = err.Error()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(c.cfg.RenewEvery / 2):
		}
	}
}
