package replica

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"

	"ringway/events"
	"ringway/events/shardlog"
	"ringway/shard/apply"
	"ringway/shard/rowcache"
	"ringway/shard/storage"
)

// Long reads of an engine that the managers of a server may hold at once.
const (
	MaxFills   = 2 // before which a replica may be quarantined
	MaxDigests = 2 // as many as 'ringway verify' asks for
)

// Config says how the replicas of a server are managed.
type Config struct {
	Quarantine     string // directory for what a replica on another history held; empty: it is not kept
	Applier        apply.Config
	MaxReplaySeq   uint64        // a log of fewer batches, and
	MaxReplayBytes uint64        // fewer bytes, is replayed from its start although somebody could be copied
	Stalled        time.Duration // without a line from a donor, before its copy is given up
	RetryMin       time.Duration // first wait after a failure of a replica or of the engine; doubles
	RetryMax       time.Duration
	Durable        time.Duration // between two looks at what a power cut cannot take back
}

// DefaultConfig suits a handful of replicas on a laptop.
func DefaultConfig() Config {
	cfg := Config{
		Applier: apply.DefaultConfig(), MaxReplaySeq: 1000, MaxReplayBytes: 2 << 20, Stalled: 30 * time.Second,
		RetryMin: time.Second, RetryMax: 30 * time.Second, Durable: 3 * time.Second,
	}
	// Decoded and on its way into the engine an entry takes ten times its bytes.
	cfg.Applier.MaxReadAhead = 512 << 10
	cfg.Applier.Budget = &apply.Budget{Bytes: 2 << 20}
	return cfg
}

// Log is the log of one shard. See logs.Log.
type Log interface {
	apply.Log
	State(ctx context.Context) (shardlog.LogState, error)
	Get(ctx context.Context, seq uint64) (at time.Time, data []byte, err error)
	Hole(ctx context.Context, from uint64) (*events.LogHole, error)
}

// Host is what the managers of one server share.
type Host struct {
	Server  string                                   // its name in the routes
	Engine  func(ctx context.Context) storage.Engine // waits until it is open; nil when ctx has ended
	Logs    func(events.LogID) Log
	Bus     apply.Publisher
	Cache   *rowcache.Cache
	Changed func() // is called after each change of the state of a replica
	Log     *slog.Logger

	cfg     Config
	http    *http.Client        // to donors
	fills   *semaphore.Weighted // copies that are received
	digests *semaphore.Weighted // snapshots held for digests
	digest  *semaphore.Weighted // one at a time is computed
}

// NewHost completes what a server has.
func NewHost(cfg Config, h Host) *Host {
	h.cfg, h.http = cfg, newHTTP(cfg.Stalled)
	h.fills, h.digests, h.digest = semaphore.NewWeighted(MaxFills), semaphore.NewWeighted(MaxDigests), semaphore.NewWeighted(1)
	return &h
}

// newHTTP asks other shard servers. A transport goes on to dial after its caller
// has given up, hence the dialer's own timeout.
func newHTTP(stalled time.Duration) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, DisableCompression: true, ResponseHeaderTimeout: stalled,
		DialContext: (&net.Dialer{Timeout: min(stalled, 5*time.Second)}).DialContext,
	}}
}
