package bus

import (
	"context"
	"log/slog"

	"ringway/events/bus/kv"
	"ringway/events/bus/link"
	"ringway/events/bus/logs"
	"ringway/events/streams"
)

// Config is how to reach a bus.
type Config = link.Config

// DefaultConfig is a client of a bus on this machine.
func DefaultConfig() Config { return link.DefaultConfig() }

// Conn is a connection to the bus. All methods may be called at the same time.
type Conn struct {
	*kv.Buckets
	*logs.Logs
	link *link.Conn
}

// Connect opens a connection. Without cfg.Wait it fails when there is no bus;
// with it a role can begin its work before there is one.
func Connect(ctx context.Context, cfg Config, log *slog.Logger) (*Conn, error) {
	l, err := link.Connect(ctx, cfg, log)
	if err != nil {
		return nil, err
	}
	return &Conn{Buckets: kv.New(l), Logs: logs.New(l), link: l}, nil
}

// Close ends the connection after sending what was published.
func (c *Conn) Close() { c.link.Close() }

// Server is the name of the bus server; empty while there is none.
func (c *Conn) Server() string { return c.link.Server() }

// AsServers, for Config.Replicas, is a copy on each server, three at most.
const AsServers = link.AsServers

// AddCopies gives one stream more copies, if there are servers for it; nil: no
// stream lacks one, or one is being filled now.
func (c *Conn) AddCopies(ctx context.Context) (*streams.Added, error) {
	return c.link.AddCopies(ctx)
}

// Streams are all streams of Ringway on the bus, by name.
func (c *Conn) Streams(ctx context.Context) ([]streams.Status, error) {
	return c.link.Streams(ctx)
}

// Connected reports whether the bus is there.
func (c *Conn) Connected() bool { return c.link.Connected() }
