package proxy

import (
	"github.com/prometheus/client_golang/prometheus"

	"ringway/events"
)

// Unready is why no request can be forwarded; empty if one can.
func (s *Snapshot) Unready() string {
	switch {
	case s.service == nil:
		return "no route is known yet"
	case len(s.service.replicas) == 0:
		return "service " + s.service.name + " has no member"
	}
	return ""
}

// View is a service for people.
type View struct {
	Service string       `json:"service"`
	Epoch   events.Epoch `json:"epoch"`
	Slots   int          `json:"slots"`
	Members []MemberView `json:"members"`
}

// MemberView is a member for people.
type MemberView struct {
	Name     string `json:"name"`
	ID       int    `json:"id"`
	Host     string `json:"host"`
	Address  string `json:"address"`
	Slots    int    `json:"slots"`
	InFlight int64  `json:"in_flight"`
	Ejected  bool   `json:"ejected"`
	Draining bool   `json:"draining"`
}

// Views are all services for people.
func (s *Snapshot) Views() (all []View) {
	for _, one := range s.services {
		v := View{Service: one.name, Epoch: one.epoch, Slots: one.table.Size(), Members: []MemberView{}}
		shares := one.table.Shares()
		for i, r := range one.membership {
			m := one.members[i]
			v.Members = append(v.Members, MemberView{
				Name: r.Name, ID: r.ID, Host: r.Host, Address: r.Address, Slots: shares[i],
				InFlight: m.inflight.Load(), Ejected: !m.up(), Draining: r.Draining,
			})
		}
		all = append(all, v)
	}
	return all
}

// InFlight is the number of requests by service and member, where there are
// any.
func (s *Snapshot) InFlight() map[string]map[string]int { return s.inFlight(false) }

// inFlight is the number of requests by service and member; current members
// without any are left out unless all is set.
func (s *Snapshot) inFlight(all bool) map[string]map[string]int {
	count := map[string]map[string]int{}
	add := func(m *member, all bool) {
		n := int(m.inflight.Load())
		if n <= 0 && !all {
			return
		}
		if count[m.metrics.service] == nil {
			count[m.metrics.service] = map[string]int{}
		}
		count[m.metrics.service][m.name] += n
	}
	for _, one := range s.services {
		for _, m := range one.members {
			add(m, all)
		}
	}
	for _, m := range s.departed {
		add(m, false)
	}
	return count
}

// snapshotCollector reads the snapshot at each scrape.
type snapshotCollector struct{ p *Proxy }

var (
	descInFlight = prometheus.NewDesc("ringway_router_in_flight", "Requests in flight.", []string{"service", "member"}, nil)
	descEjected  = prometheus.NewDesc("ringway_router_ejected", "1 if this router does not choose the member.", []string{"service", "member"}, nil)
	descEpoch    = prometheus.NewDesc("ringway_router_epoch", "Revision of the route served.", []string{"service", "incarnation"}, nil)
)

// Describe implements prometheus.Collector.
func (c snapshotCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- descInFlight
	ch <- descEjected
	ch <- descEpoch
}

// Collect implements prometheus.Collector.
func (c snapshotCollector) Collect(ch chan<- prometheus.Metric) {
	rt := c.p.snapshot.Load()
	for service, members := range rt.inFlight(true) {
		for member, n := range members {
			ch <- prometheus.MustNewConstMetric(descInFlight, prometheus.GaugeValue, float64(n), service, member)
		}
	}
	for _, s := range rt.services {
		ch <- prometheus.MustNewConstMetric(descEpoch, prometheus.GaugeValue, float64(s.epoch.Revision), s.name, s.epoch.Incarnation)
		for _, u := range s.members {
			ejected := 0.0
			if !u.up() {
				ejected = 1
			}
			ch <- prometheus.MustNewConstMetric(descEjected, prometheus.GaugeValue, ejected, s.name, u.name)
		}
	}
}
