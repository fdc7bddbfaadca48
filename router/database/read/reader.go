// Package read answers /read. A read finds out what it has to see, which is a
// seq of each shard's log, and asks a replica that has applied it: the rows of a
// few keys together with other reads of its server, those of a range on a
// connection of its own. Reads need neither the bus nor the controller, as long
// as they do not ask for a barrier.
package read

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringway/events"
	"ringway/events/shardlog"
	"ringway/router/database/background"
	"ringway/router/database/catalog"
)

// Config is what can be tuned. Start from DefaultConfig.
type Config struct {
	Timeout time.Duration // all tries of a read until its first byte
	Learn   time.Duration // longest wait for the last seq of a log that is new to this router, and without a bus for its replicas

	Ahead    int           // shards of a range that are read at the same time
	Prefetch int           // bytes of each that are read ahead
	Park     time.Duration // a shard that is read ahead and not taken for so long is read anew when its turn comes; below what its server waits for a reader
	Hold     int           // bytes of an answer that are read before any is sent, so that a failure has its status code
	MaxOld   int           // bytes of an answer to a client of HTTP/1.0, which cannot see that one is cut off
}

// DefaultConfig is what `ringway up` uses.
func DefaultConfig() Config {
	return Config{
		Timeout: 10 * time.Second, Learn: 2 * time.Second,
		Ahead: 4, Prefetch: 256 << 10, Park: 10 * time.Second, Hold: 64 << 10, MaxOld: 10 << 20,
	}
}

// logs report what a log holds now.
type logs interface {
	State(ctx context.Context, log events.LogID) (shardlog.LogState, error)
}

// barriers puts one through the log of a shard and returns its seq.
type barriers interface {
	Barrier(ctx context.Context, s *catalog.Shard) (uint64, error)
}

// Reader reads the catalog's tables. New starts nothing; Run does.
type Reader struct {
	cfg      Config
	hedge    time.Duration // until another replica is asked too
	catalog  *catalog.Catalog
	group    *background.Group
	logs     logs
	barriers barriers
	log      *slog.Logger
	metrics  *metrics
}

// New is a reader of the catalog's tables.
func New(cfg Config, hedge time.Duration, c *catalog.Catalog, group *background.Group, logs logs, barriers barriers,
	registry prometheus.Registerer, log *slog.Logger) *Reader {
	return &Reader{cfg: cfg, hedge: hedge, catalog: c, group: group, logs: logs, barriers: barriers, log: log, metrics: newMetrics(registry)}
}

// Prepare makes the metrics of a table begin at zero.
func (r *Reader) Prepare(table string) {
	r.metrics.seconds.WithLabelValues(table, keyReads)
	r.metrics.seconds.WithLabelValues(table, rangeReads)
}
