package database

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what the database counts.
type metrics struct {
	ops     *prometheus.CounterVec
	reads   *prometheus.HistogramVec
	failed  *prometheus.CounterVec
	shared  prometheus.Counter
	hedged  prometheus.Counter
	waits   prometheus.Counter
	refused prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		ops: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringway_router_ops_total",
			Help: "Operations on one shard, by what became of them."}, []string{"table", "kind", "outcome"}),
		reads: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "ringway_router_read_seconds",
			Help:    "From a read to its answer, or to the first part of a long one.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}}, []string{"table", "kind"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringway_router_replica_failures_total",
			Help: "Questions that a replica did not answer, and another one was asked."}, []string{"table"}),
		shared: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringway_router_shared_reads_total",
			Help: "Reads of single rows that shared the question of another one."}),
		hedged: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringway_router_hedged_reads_total",
			Help: "Reads of which another replica was asked too, because the first took long."}),
		waits: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringway_router_floor_waits_total",
			Help: "Reads asked of a replica that was not known to have applied what they have to see."}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringway_router_refused_tables_total",
			Help: "Routes of tables that could not be served; the last good one stayed."}),
	}
	registry.MustRegister(m.ops, m.reads, m.failed, m.shared, m.hedged, m.waits, m.refused)
	return m
}

func (m *metrics) op(table, kind, outcome string) { m.ops.WithLabelValues(table, kind, outcome).Inc() }

func took(o prometheus.Observer, begun time.Time) { o.Observe(time.Since(begun).Seconds()) }

// mayWait counts a read of a replica that may have to wait for its minimum seq.
func (m *metrics) mayWait(r *replica, minSeq uint64) {
	if r.seen.Load() < minSeq {
		m.waits.Inc()
	}
}
