package shard

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"
)

// metrics are what a shard server counts.
type metrics struct {
	memory, store prometheus.Counter // rows by key
	serve         fasthttp.RequestHandler
}

func newMetrics() *metrics {
	rows := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringway_shard_rows_total",
		Help: "Rows asked for by key, by where they were found: in memory, or else the store was asked."}, []string{"from"})
	registry := prometheus.NewRegistry()
	registry.MustRegister(rows, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &metrics{
		memory: rows.WithLabelValues("memory"), store: rows.WithLabelValues("store"),
		serve: fasthttpadaptor.NewFastHTTPHandler(promhttp.HandlerFor(registry, promhttp.HandlerOpts{})),
	}
}
