package shard

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"ringway/events"
	"ringway/shard/storage"
)

// engineHolder is the engine, once it is open.
type engineHolder struct {
	opened chan struct{} // closed when engine is there

	mu      sync.Mutex
	engine  storage.Engine
	name    string
	trouble string
}

// openWithRetry opens the engine, however long that takes.
func (h *engineHolder) openWithRetry(ctx context.Context, cfg Config, open Opener, log *slog.Logger, changed func()) {
	for wait := cfg.RetryMin; ctx.Err() == nil; wait = min(2*wait, cfg.RetryMax) {
		began := time.Now()
		engine, name, err := open(ctx)
		if err == nil {
			h.mu.Lock()
			h.engine, h.name, h.trouble = engine, name, ""
			h.mu.Unlock()
			close(h.opened)
			log.Info("engine is open", "engine", name, "after", time.Since(began))
			changed()
			return
		}
		if ctx.Err() != nil {
			return
		}
		log.Warn("engine does not open", events.KeyError, err, "again_in", wait)
		h.mu.Lock()
		h.trouble = err.Error()
		h.mu.Unlock()
		changed()
		pause(ctx, wait)
	}
}

// get waits for the engine; nil when ctx ended.
func (h *engineHolder) get(ctx context.Context) storage.Engine {
	select {
	case <-h.opened:
	case <-ctx.Done():
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.engine
}

func (h *engineHolder) status() (name, trouble string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.name, h.trouble
}

func (h *engineHolder) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.engine == nil {
		return nil
	}
	return h.engine.Close()
}
