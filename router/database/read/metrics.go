package read

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringway/router/database/catalog"
)

// Kinds of reads.
const (
	keyReads   = "keys"
	rangeReads = "range"
)

type metrics struct {
	seconds *prometheus.HistogramVec
	failed  *prometheus.CounterVec
	shared  prometheus.Counter
	hedged  prometheus.Counter
	waits   prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "ringway_router_read_seconds",
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
	}
	registry.MustRegister(m.seconds, m.failed, m.shared, m.hedged, m.waits)
	return m
}

func (m *metrics) took(table, kind string, begun time.Time) {
	m.seconds.WithLabelValues(table, kind).Observe(time.Since(begun).Seconds())
}

// mayWait counts a read of a replica that may have to wait for its minimum seq.
func (m *metrics) mayWait(r *catalog.Replica, minSeq uint64) {
	if r.MayWait(minSeq) {
		m.waits.Inc()
	}
}
