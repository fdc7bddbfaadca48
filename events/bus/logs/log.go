// Package logs is the write-ahead logs of shards on the bus.
package logs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"ringway/events"
	"ringway/events/bus/link"
	"ringway/events/shardlog"
)

// Logs are those of one connection.
type Logs struct {
	conn *link.Conn

	mu   sync.Mutex
	logs map[events.LogID]*Log
}

// New returns the logs of a connection.
func New(conn *link.Conn) *Logs { return &Logs{conn: conn, logs: map[events.LogID]*Log{}} }

// Log is one life of a shard's write-ahead log. It is only ever opened: a log
// that is not there is events.ErrLogMissing, one that has another incarnation
// events.ErrLogForeign. All methods may be called at the same time.
type Log struct {
	conn *link.Conn
	id   events.LogID

	mu         sync.Mutex
	handle     jetstream.Stream // nil: to be read from the bus
	reconnects uint64           // of the connection when handle was read
	forgets    uint64           // so far
	newest     uint64           // seq of the newest batch that was acknowledged here
}

// Log returns the one handle of this connection for a log. It sends
// nothing to the bus.
func (c *Logs) Log(id events.LogID) *Log {
	c.mu.Lock()
	defer c.mu.Unlock()
	l, ok := c.logs[id]
	if !ok {
		l = &Log{conn: c.conn, id: id}
		c.logs[id] = l
	}
	return l
}

// CreateLog makes the log of a shard, whose first batch gets the seq first (0
// is 1). Where one of this incarnation is already, its settings are brought up
// to date and all that it holds stays; one of another incarnation is
// events.ErrLogForeign, and is left alone.
func (c *Logs) CreateLog(ctx context.Context, id events.LogID, first uint64) (shardlog.LogState, error) {
	fail := func(err error) (shardlog.LogState, error) {
		return shardlog.LogState{}, fmt.Errorf("create log %s: %w", id, err)
	}
	if err := id.Validate(); err != nil {
		return fail(err)
	}
	ctx, cancel, err := c.conn.Begin(ctx)
	if err != nil {
		return fail(err)
	}
	defer cancel()
	handle, err := c.conn.JS.Stream(ctx, events.LogStream(id.Table, id.Shard))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		handle, err = c.conn.CreateStream(ctx, c.logConfig(id, first))
		if err == nil {
			c.conn.Log.Info("log created", events.KeyTable, id.Table, events.KeyShard, id.Shard, events.KeyIncarnation, id.Incarnation)
		}
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // somebody was first
			handle, err = c.conn.JS.Stream(ctx, events.LogStream(id.Table, id.Shard))
		}
	}
	if err != nil {
		return fail(link.Explained(ctx, err))
	}
	if err := own(id, handle.CachedInfo()); err != nil {
		return fail(err)
	}
	if handle, err = c.renewLog(ctx, id, handle); err != nil {
		return fail(link.Explained(ctx, err))
	}
	return logState(handle.CachedInfo()), nil
}

// renewLog gives a log our present settings.
func (c *Logs) renewLog(ctx context.Context, id events.LogID, handle jetstream.Stream) (jetstream.Stream, error) {
	is, want := handle.CachedInfo().Config, c.logConfig(id, 0)
	cfg := is
	cfg.MaxBytes, cfg.Duplicates = want.MaxBytes, want.Duplicates
	if is.MaxBytes == cfg.MaxBytes && is.Duplicates == cfg.Duplicates {
		return handle, nil
	}
	return c.conn.JS.UpdateStream(ctx, cfg)
}

func (c *Logs) logConfig(id events.LogID, first uint64) jetstream.StreamConfig {
	cfg := jetstream.StreamConfig{
		Name: events.LogStream(id.Table, id.Shard), Subjects: []string{events.LogSubject(id.Table, id.Shard)},
		Description: "write-ahead log of shard " + id.Shard + " of table " + id.Table,
		Metadata:    map[string]string{link.IncarnationKey: id.Incarnation},
		MaxBytes:    -1, MaxMsgs: -1, MaxConsumers: -1, MaxMsgSize: -1, MaxMsgsPerSubject: -1,
		Storage: jetstream.FileStorage,
		// A full log refuses; what it has goes only by Purge.
		Discard: jetstream.DiscardNew, DenyDelete: true, Duplicates: shardlog.LogDedup,
	}
	if first > 1 {
		cfg.FirstSeq = first
	}
	if c.conn.Config.LogBytes > 0 {
		cfg.MaxBytes = c.conn.Config.LogBytes
	}
	return cfg
}

// DeleteLog deletes one incarnation of a log with all that it holds. Only a
// person's order may lead to it. A log that is not there is success.
func (c *Logs) DeleteLog(ctx context.Context, id events.LogID) error {
	l := c.Log(id)
	l.forget()
	_, err := l.ask(ctx, func(ctx context.Context, handle jetstream.Stream) error {
		return c.conn.JS.DeleteStream(ctx, handle.CachedInfo().Config.Name)
	})
	l.forget()
	if err != nil && !errors.Is(err, events.ErrLogMissing) {
		return fmt.Errorf("delete log %s: %w", id, err)
	}
	return nil
}

// LogState is what the log of a shard holds, whatever life of it is there:
// its incarnation names it. None is events.ErrLogMissing.
func (c *Logs) LogState(ctx context.Context, table, shard string) (shardlog.LogState, error) {
	fail := func(err error) (shardlog.LogState, error) {
		return shardlog.LogState{}, fmt.Errorf("state of the log of %s.%s: %w", table, shard, err)
	}
	if err := (events.LogID{Table: table, Shard: shard, Incarnation: "any"}).Validate(); err != nil {
		return fail(err)
	}
	ctx, cancel, err := c.conn.Begin(ctx)
	if err != nil {
		return fail(err)
	}
	defer cancel()
	handle, err := c.conn.JS.Stream(ctx, events.LogStream(table, shard))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fail(events.ErrLogMissing)
	}
	if err != nil {
		return fail(link.Explained(ctx, err))
	}
	return logState(handle.CachedInfo()), nil
}

// own accepts a stream that is this life of the log.
func own(id events.LogID, info *jetstream.StreamInfo) error {
	if is := link.Incarnation(info); is != id.Incarnation {
		return fmt.Errorf("%w: its incarnation is %s", events.ErrLogForeign, is)
	}
	return nil
}

// open looks the log up on the bus, once a connection or after forget. Some who
// come together may all do so: who waited for another's answer would be held up
// by it past the end of its own ctx.
func (l *Log) open(ctx context.Context) (jetstream.Stream, error) {
	// Read before the request: a reconnect or forget in between makes the answer old.
	reconnects := l.conn.NATS.Stats().Reconnects
	known, forgets := l.opened(reconnects)
	if known != nil {
		return known, nil
	}
	if err := l.id.Validate(); err != nil {
		return nil, err
	}
	handle, err := l.conn.JS.Stream(ctx, events.LogStream(l.id.Table, l.id.Shard))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, events.ErrLogMissing
	}
	if err != nil {
		return nil, link.Explained(ctx, err)
	}
	if err := own(l.id, handle.CachedInfo()); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.forgets == forgets && l.reconnects <= reconnects {
		l.handle, l.reconnects = handle, reconnects
	}
	return handle, nil
}

// opened is the handle of a connection, nil if there is none, and how often one
// was forgotten.
func (l *Log) opened(reconnects uint64) (jetstream.Stream, uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reconnects != reconnects {
		return nil, l.forgets
	}
	return l.handle, l.forgets
}

// forget makes the next open look the log up again.
func (l *Log) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.handle = nil
	l.forgets++
}

// ask makes one exchange with the bus about the log. It reports whether
// exchange was tried.
func (l *Log) ask(ctx context.Context, exchange func(context.Context, jetstream.Stream) error) (tried bool, err error) {
	// The request comes first: it ends with the connection that it began with,
	// which is the one that open looks at.
	ctx, cancel, err := l.conn.Begin(ctx)
	if err != nil {
		return false, err
	}
	defer cancel()
	handle, err := l.open(ctx)
	if err != nil {
		return false, err
	}
	if err := exchange(ctx, handle); err != nil {
		return true, link.Explained(ctx, err)
	}
	return true, nil
}

// State is what a log holds now; see Log.State.
func (c *Logs) State(ctx context.Context, id events.LogID) (shardlog.LogState, error) {
	return c.Log(id).State(ctx)
}

// PurgeLog drops the beginning of a log; see Log.Purge.
func (c *Logs) PurgeLog(ctx context.Context, id events.LogID, below uint64) error {
	return c.Log(id).Purge(ctx, below)
}

// State is what the log holds now.
func (l *Log) State(ctx context.Context) (shardlog.LogState, error) {
	l.forget() // so that it is read anew
	var s shardlog.LogState
	_, err := l.ask(ctx, func(_ context.Context, handle jetstream.Stream) error {
		s = logState(handle.CachedInfo())
		return nil
	})
	if err != nil {
		return shardlog.LogState{}, fmt.Errorf("state of log %s: %w", l.id, err)
	}
	return s, nil
}

func logState(info *jetstream.StreamInfo) shardlog.LogState {
	return shardlog.LogState{
		Incarnation: link.Incarnation(info), First: max(info.State.FirstSeq, 1), Last: info.State.LastSeq, Bytes: info.State.Bytes,
	}
}

// Get reads one message; events.ErrNotFound if the log does not have it.
func (l *Log) Get(ctx context.Context, seq uint64) (at time.Time, data []byte, err error) {
	_, err = l.ask(ctx, func(ctx context.Context, handle jetstream.Stream) error {
		m, err := handle.GetMsg(ctx, seq)
		if err == nil {
			at, data = m.Time, m.Data
		}
		return err
	})
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		err = events.ErrNotFound
	case errors.Is(err, jetstream.ErrStreamNotFound):
		l.forget()
		err = events.ErrLogMissing
	}
	if err != nil {
		return time.Time{}, nil, fmt.Errorf("get %d from log %s: %w", seq, l.id, err)
	}
	return at, data, nil
}

// Hole finds out what the log lost from a seq on; nil: it has that seq, or need
// not have it, because it is purged or not stored yet. Only the disk of the bus
// takes a message out of the middle of a log, and what is left of its stream does
// not always say so.
func (l *Log) Hole(ctx context.Context, from uint64) (*events.LogHole, error) {
	s, err := l.State(ctx)
	if err != nil || from < s.First || from > s.Last {
		return nil, err
	}
	if _, _, err := l.Get(ctx, from); !errors.Is(err, events.ErrNotFound) {
		return nil, err
	}
	hole := &events.LogHole{From: from, To: s.Last}
	subject := events.LogSubject(l.id.Table, l.id.Shard)
	_, err = l.ask(ctx, func(ctx context.Context, handle jetstream.Stream) error {
		m, err := handle.GetMsg(ctx, from, jetstream.WithGetMsgSubject(subject)) // the next there is
		if err == nil {
			hole.To = m.Sequence - 1
		}
		return err
	})
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, fmt.Errorf("look behind %d in log %s: %w", from, l.id, err)
	}
	if s, err = l.State(ctx); err != nil || from < s.First { // purged meanwhile
		return nil, err
	}
	return hole, nil
}

// Purge drops everything before the seq below, which must not lie beyond the
// end of the log: what was never there cannot be purged.
func (l *Log) Purge(ctx context.Context, below uint64) error {
	fail := func(err error) error { return fmt.Errorf("purge log %s below %d: %w", l.id, below, err) }
	s, err := l.State(ctx)
	if err != nil {
		return fail(err)
	}
	if below <= s.First {
		return nil // NATS takes 0 for everything
	}
	if below > s.Last+1 {
		return fail(fmt.Errorf("%w: it ends at %d", events.ErrLogForeign, s.Last))
	}
	if _, err := l.ask(ctx, func(ctx context.Context, handle jetstream.Stream) error {
		return handle.Purge(ctx, jetstream.WithPurgeSequence(below))
	}); err != nil {
		l.forget()
		return fail(err)
	}
	return nil
}
