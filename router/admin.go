package router

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// newAdmin is the server that operators and their tools talk to.
func (r *Router) newAdmin() *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(r.registry, promhttp.HandlerOpts{}))
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

// readyz reports whether a balancer in front may send requests here.
func (r *Router) readyz(w http.ResponseWriter, _ *http.Request) {
	if why := r.unready(); why != "" {
		writeJSON(w, http.StatusServiceUnavailable, map[string]any{"ready": false, "reason": why})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"ready": true})
}

func (r *Router) unready() string {
	if r.stopping.Load() {
		return "the router is stopping"
	}
	return r.proxy.Snapshot().Unready()
}

// showRoutes is the snapshot for people.
func (r *Router) showRoutes(w http.ResponseWriter, _ *http.Request) {
	all := []any{}
	for _, s := range r.proxy.Snapshot().Views() {
		all = append(all, s)
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
