// Package write answers /write, /update, /del and /v1/ops. The rows of a request
// are checked and grouped by shard; each shard's part is one op in its log. The
// answer says what became of each part, and of which it is not known.
package write

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringway/events"
	"ringway/events/oplog"
	"ringway/events/shardlog"
	"ringway/router/database/background"
	"ringway/router/database/catalog"
)

// Config is what can be tuned. Start from DefaultConfig.
type Config struct {
	Timeout    time.Duration // longest wait for what became of a write; 504 beyond
	Ask        time.Duration // all tries to find out what became of an op that a client asks about
	UnknownFor time.Duration // from the first question about another router's op until it is said to be in no log
}

// DefaultConfig is what `ringway up` uses.
func DefaultConfig() Config {
	return Config{
		Timeout: 20 * time.Second, Ask: 10 * time.Second,
		UnknownFor: shardlog.LogDedup, // writers send a batch again for less than this
	}
}

// Writer writes to the logs of shards. New starts nothing; Run does.
type Writer struct {
	cfg     Config
	hedge   time.Duration
	catalog *catalog.Catalog
	group   *background.Group
	oplog   *oplog.Writer
	log     *slog.Logger
	ops     *prometheus.CounterVec
	unknown unknownOps
}

// New is a writer of the catalog's tables. It asks another replica too what
// became of a batch when one takes longer than hedge.
func New(cfg Config, hedge time.Duration, c *catalog.Catalog, group *background.Group, logs oplog.Log, results oplog.Listener,
	registry prometheus.Registerer, log *slog.Logger) (*Writer, error) {
	w := &Writer{
		cfg: cfg, hedge: hedge, catalog: c, group: group, log: log, unknown: unknownOps{ops: map[string]*unknownOp{}},
		ops: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringway_router_ops_total",
			Help: "Operations on one shard, by what became of them."}, []string{"table", "kind", "outcome"}),
	}
	registry.MustRegister(w.ops)
	w.oplog = oplog.New(oplog.DefaultConfig(), logs, results, w, log)
	return w, nil
}

// Run writes until ctx ends.
func (w *Writer) Run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := w.oplog.Run(ctx); err != nil {
			w.log.Warn("the logs cannot be written", events.KeyError, err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
}

// Prepare makes the counters of a table begin at zero.
func (w *Writer) Prepare(table string) {
	for _, kind := range []string{shardlog.OpInsert, shardlog.OpUpdate, shardlog.OpDelete} {
		w.ops.WithLabelValues(table, kind, string(shardlog.Done))
	}
}

// Barrier puts one through the log of a shard and returns its seq.
func (w *Writer) Barrier(ctx context.Context, s *catalog.Shard) (uint64, error) {
	barrier, err := w.oplog.Do(ctx, s.Log, &shardlog.Op{Kind: shardlog.OpBarrier})
	if err != nil {
		return 0, fmt.Errorf("shard %s: no barrier: %w", s.ID, err)
	}
	s.MinSeq.Raise(barrier.Seq)
	return barrier.Seq, nil
}
