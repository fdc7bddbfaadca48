package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"ringway/cli/client"
	"ringway/events"
	"ringway/events/bus"
	"ringway/events/shardlog"
)

// dial reaches a running cluster; there is an error if no bus answers.
func dial(ctx context.Context, url string) (client.Cluster, error) {
	cfg := bus.DefaultConfig()
	cfg.URL, cfg.Name = url, "cli"
	conn, err := bus.Connect(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	return cluster{conn}, nil
}

// cluster implements client.Cluster on a connection to the bus.
type cluster struct{ *bus.Conn }

// Bus implements client.Cluster.
func (c cluster) Bus() string { return c.Server() }

// Routes implements client.Cluster.
func (c cluster) Routes(ctx context.Context) ([]events.Entry, error) {
	b, err := c.Bucket(ctx, events.BucketRoutes)
	if err != nil {
		return nil, err
	}
	return b.Entries(ctx)
}

// Mark implements client.Cluster. The same batch is sent until it is known to be
// stored.
func (c cluster) Mark(ctx context.Context, log events.LogID) (string, uint64, error) {
	b := shardlog.Batch{ID: rand.Text(), Writer: "cli", Table: log.Table, Shard: log.Shard, Ops: []shardlog.Op{{Kind: shardlog.OpDigest}}}
	data, err := json.Marshal(b)
	if err != nil {
		return "", 0, err
	}
	for {
		seq, err := c.Append(ctx, log, b.ID, data)
		if !errors.Is(err, events.ErrUnknownOutcome) {
			return b.ID, seq, err
		}
		select {
		case <-ctx.Done():
			return b.ID, 0, err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// LogState implements client.Cluster.
func (c cluster) LogState(ctx context.Context, log events.LogID) (shardlog.LogState, error) {
	return c.State(ctx, log)
}

// LogBatch implements client.Cluster.
func (c cluster) LogBatch(ctx context.Context, log events.LogID, seq uint64) (string, time.Time, error) {
	at, data, err := c.Log(log).Get(ctx, seq)
	if err != nil {
		return "", time.Time{}, err
	}
	b, err := shardlog.DecodeBatch(data)
	if err != nil { // a batch that nobody has applied, whatever it is
		return "", at, nil
	}
	return b.ID, at, nil
}
