package proxy

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what the proxy counts. The hot path touches only children that
// were looked up when their member was first seen.
type metrics struct {
	answers   *prometheus.CounterVec
	retries   *prometheus.CounterVec
	ejections *prometheus.CounterVec
	duration  *prometheus.HistogramVec
	refused   prometheus.Counter
	own       memberMetrics // answers of the router itself
}

// memberMetrics are the children of one member.
type memberMetrics struct {
	service, name string
	answers       [6]prometheus.Counter // by code class; 0: none that exists
	retries       prometheus.Counter
	ejections     prometheus.Counter
	duration      prometheus.Observer
}

var classes = [6]string{"other", "1xx", "2xx", "3xx", "4xx", "5xx"}

func newMetrics(registry prometheus.Registerer) *metrics {
	of := []string{"service", "member"}
	m := &metrics{
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringway_router_answers_total",
			Help: "Answers by the member that gave them and class of status code; an empty member is the router itself."}, append(of, "code")),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringway_router_retries_total",
			Help: "Requests that were tried again after a failure at this member."}, of),
		ejections: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringway_router_ejections_total",
			Help: "Times that this router took the member out because it could not be reached."}, of),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "ringway_router_answer_seconds",
			Help:    "From the request to the answer's header, or its end if it is small.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}}, of),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "ringway_router_refused_routes_total",
			Help: "Routes that could not be served; the last good one stayed."}),
	}
	registry.MustRegister(m.answers, m.retries, m.ejections, m.duration, m.refused)
	m.own = m.member("", "")
	return m
}

// CountOwn counts an answer of the router itself.
func (p *Proxy) CountOwn(code int) { p.metrics.own.answers[code/100].Inc() }

// member looks up the children of one member.
func (m *metrics) member(service, name string) memberMetrics {
	mm := memberMetrics{
		service: service, name: name,
		retries:   m.retries.WithLabelValues(service, name),
		ejections: m.ejections.WithLabelValues(service, name),
		duration:  m.duration.WithLabelValues(service, name),
	}
	for i, class := range classes {
		mm.answers[i] = m.answers.WithLabelValues(service, name, class)
	}
	return mm
}

// forget drops the series of a member that is gone: names are random, and
// would pile up.
func (m *metrics) forget(gone *member, now *Snapshot) {
	service, name := gone.metrics.service, gone.name
	for _, s := range now.services {
		for _, u := range s.members {
			if u.metrics.service == service && u.name == name {
				return
			}
		}
	}
	of := prometheus.Labels{"service": service, "member": name}
	m.answers.DeletePartialMatch(of)
	m.retries.Delete(of)
	m.ejections.Delete(of)
	m.duration.Delete(of)
}
