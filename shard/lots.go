package shard

import (
	"context"
	"time"

	"ringway/events"
)

// lots have a replica that answers nobody read its log as it gathers: most of
// what a transaction costs, it costs once, and so does most of what a message
// costs on its way.
type lots struct{ *Applier }

var _ events.BatchReader = lots{}

// Fetch implements events.BatchReader.
func (l lots) Fetch() bool { return !l.isResponder() }

// Wait implements events.BatchReader. It waits longer after a large transaction, and
// not at all if somebody waits for what is there.
func (l lots) Wait(ctx context.Context) {
	cfg := &l.cfg
	over := time.NewTimer(max(cfg.Gather, min(time.Duration(l.last.Load())*cfg.GatherEach, cfg.GatherMost)))
	defer over.Stop()
	select {
	case <-ctx.Done():
	case <-l.hurry:
	case <-over.C:
	}
}
