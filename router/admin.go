package router

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"ringway/events"
)

// newAdmin is the server that operators and their tools talk to.
func (r *Router) newAdmin() *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(r.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"live": true})
	})
	mux.HandleFunc("GET /readyz", r.readyz)
	mux.HandleFunc("GET /routes", r.showRoutes)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return &http.Server{
		Handler: mux, ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 2 * time.Minute, IdleTimeout: time.Minute,
	}
}

// readyz says whether a balancer in front may send requests here.
func (r *Router) readyz(w http.ResponseWriter, _ *http.Request) {
	if why := r.unready(); why != "" {
		writeJSON(w, http.StatusServiceUnavailable, map[string]any{"ready": false, "reason": why})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"ready": true})
}

func (r *Router) unready() string {
	rt := r.routes.Load()
	switch {
	case r.stopping.Load():
		return "the router is stopping"
	case rt.service == nil:
		return "no route is known yet"
	case len(rt.service.replicas) == 0:
		return "service " + rt.service.name + " has no member"
	}
	return ""
}

// showRoutes is the snapshot for people.
func (r *Router) showRoutes(w http.ResponseWriter, _ *http.Request) {
	type member struct {
		Name     string `json:"name"`
		ID       int    `json:"id"`
		Host     string `json:"host"`
		Address  string `json:"address"`
		Slots    int    `json:"slots"`
		InFlight int64  `json:"in_flight"`
		Ejected  bool   `json:"ejected"`
		Draining bool   `json:"draining"`
	}
	type route struct {
		Service string       `json:"service"`
		Epoch   events.Epoch `json:"epoch"`
		Slots   int          `json:"slots"`
		Members []member     `json:"members"`
	}
	all := []any{}
	for _, s := range r.routes.Load().services {
		out := route{Service: s.name, Epoch: s.epoch, Slots: s.table.Size(), Members: []member{}}
		shares := s.table.Shares()
		for i, m := range s.membership {
			u := s.members[i]
			out.Members = append(out.Members, member{
				Name: m.Name, ID: m.ID, Host: m.Host, Address: m.Address, Slots: shares[i],
				InFlight: u.inflight.Load(), Ejected: !u.up(), Draining: m.Draining,
			})
		}
		all = append(all, out)
	}
	for _, t := range r.database.Tables() {
		all = append(all, t)
	}
	writeJSON(w, http.StatusOK, all)
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // the client went away
}
