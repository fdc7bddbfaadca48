package logs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ringway/events"
	"ringway/events/bus/link"
	"ringway/events/shardlog"
)

const (
	// How much of a log the bus sends ahead of its reader: a catch-up is not
	// held up by round trips, and twelve replicas in a process stay small.
	// A bound in bytes alone would make the client keep space for a million
	// messages, which the garbage collector looks through again and again.
	readAhead     = 2 << 20
	messagesAhead = 512
	// Silence after which a reader looks whether the log has gone on.
	silentAfter = 5 * time.Second
	// A log that is missing or too short may be an election not yet over.
	faultAfter = 2 * time.Second
)

var (
	errSilent  = errors.New("the log went on and nothing came")
	errSkipped = errors.New("the log did not give what comes next")
)

// Read calls fn for every message after a position, one at a time, in order
// and without a gap, and goes on as the log grows, over reconnects and
// restarts of the bus. fn may keep data.
//
// Messages come as they are stored, or are fetched many at a time. Then
// fn learns whether more of the same fetched follow at once: they do, unless Read
// ends. It holds at most messagesAhead messages of a log, in about
// readAhead. batches may be nil: never.
//
// At each subscription it compares the position with the log: the batch that
// was there has to be there still. It returns fn's error as it is, nil when
// ctx ended, events.ErrLogPurged when the log does not have what comes next
// (only a copy helps), events.ErrLogForeign when the log has another history,
// events.ErrLogMissing when there is none, and an *events.LogHole when the bus lost
// what comes next.
func (l *Log) Read(ctx context.Context, after events.Position, batches shardlog.BatchReader, fn func(seq uint64, at time.Time, data []byte, more bool) error) error {
	r := &logReader{log: l, batch: after.Batch, batches: batches, fn: fn}
	r.seq.Store(after.Seq)
	if after.Incarnation != l.id.Incarnation && after.Seq > 0 {
		return fmt.Errorf("read log %s after %s: %w", l.id, after, events.ErrLogForeign)
	}
	for attempt := 1; ; attempt++ {
		before := r.seq.Load()
		err := r.once(ctx)
		if errors.Is(err, errSkipped) {
			err = r.skipped(ctx)
		}
		switch {
		case r.stopped != nil:
			return r.stopped
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errOtherWay):
			attempt = 0
			continue
		case l.conn.NATS.IsClosed():
			err = nats.ErrConnectionClosed
		case r.passing(err, time.Now()):
			if r.seq.Load() != before {
				attempt = 1
			}
			level := slog.LevelDebug
			if attempt == 5 {
				level = slog.LevelWarn
			}
			l.conn.Log.Log(ctx, level, "log opens again", events.KeyTable, l.id.Table, events.KeyShard, l.id.Shard, events.KeyError, err)
			if !link.Pause(ctx, attempt) {
				return nil
			}
			continue
		}
		return fmt.Errorf("read log %s after %d: %w", l.id, r.seq.Load(), err)
	}
}

// logReader is the state of one Read that outlives its consumers.
type logReader struct {
	log     *Log
	batches shardlog.BatchReader
	fn      func(uint64, time.Time, []byte, bool) error
	seq     atomic.Uint64 // the last that fn had
	at      time.Time     // when that was stored; zero: known by batch only
	batch   string        // id of the batch at seq, empty: not known
	busy    atomic.Bool   // fn is running
	faulty  time.Time     // since when the log looks missing or too short
	stopped error         // by fn
}

// passing reports whether it is worth to try again after err.
func (r *logReader) passing(err error, now time.Time) bool {
	var short *tooShort
	if !errors.Is(err, events.ErrLogMissing) && !errors.As(err, &short) {
		r.faulty = time.Time{}
		return errors.Is(err, errSilent) || errors.Is(err, errFetch) || link.PassingTail(err)
	}
	if r.faulty.IsZero() {
		r.faulty = now
	}
	return now.Sub(r.faulty) < faultAfter
}

// tooShort is a log that ends before the reader's position.
type tooShort struct{ last uint64 }

func (e *tooShort) Error() string {
	return fmt.Sprintf("%s: it ends at %d", events.ErrLogForeign, e.last)
}
func (e *tooShort) Unwrap() error { return events.ErrLogForeign }

// once reads through one consumer.
func (r *logReader) once(ctx context.Context) error {
	line, err := r.log.conn.Online(ctx)
	if err != nil {
		return err
	}
	ctx, drop := link.Joined(ctx, line)
	defer drop()
	r.log.forget()
	var handle jetstream.Stream
	if _, err := r.log.ask(ctx, func(ctx context.Context, h jetstream.Stream) error {
		handle = h
		return r.compare(ctx, h)
	}); err != nil {
		return err
	}
	ctx, silent := context.WithCancelCause(ctx)
	var watchdog sync.WaitGroup
	watchdog.Go(func() { r.watch(ctx, silentAfter, silent) })
	defer watchdog.Wait()
	defer silent(nil)
	cfg := jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: r.seq.Load() + 1}
	if r.fetching() {
		return r.fetch(ctx, handle, cfg)
	}
	return r.log.conn.TailAhead(ctx, jetstream.PullMaxMessagesWithBytesLimit(messagesAhead, readAhead), handle, cfg, r.sent)
}

// sent takes a message that came as it was stored.
func (r *logReader) sent(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
	if err := follows(meta.Sequence.Stream, r.seq.Load()+1); err != nil {
		return err
	}
	if err := r.pass(m, meta, false); err != nil {
		return err
	}
	if r.fetching() {
		return errOtherWay
	}
	return nil
}

// compare refuses a log that is not the continuation of what was read.
func (r *logReader) compare(ctx context.Context, handle jetstream.Stream) error {
	s, seq := logState(handle.CachedInfo()), r.seq.Load()
	switch {
	case seq > s.Last:
		return &tooShort{last: s.Last}
	case seq+1 < s.First:
		return fmt.Errorf("%w: it begins at %d", events.ErrLogPurged, s.First)
	case seq < s.First, r.at.IsZero() && r.batch == "":
		return nil // nothing to compare with
	}
	m, err := handle.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil // purged a moment ago
	}
	if err != nil {
		return err
	}
	if !r.at.IsZero() {
		if !m.Time.Equal(r.at) {
			return fmt.Errorf("%w: what it has at %d was stored %s, not %s", events.ErrLogForeign, seq, m.Time, r.at)
		}
		return nil
	}
	if b, err := shardlog.DecodeBatch(m.Data); err != nil || b.ID != r.batch {
		return fmt.Errorf("%w: what it has at %d is %q, not %q", events.ErrLogForeign, seq, b.ID, r.batch)
	}
	return nil
}

// follows refuses a message that is not the next.
func follows(seq, want uint64) error {
	if seq < want {
		return link.ErrGap // of a consumer that is not ours any more
	}
	if seq > want {
		return fmt.Errorf("%w: %d follows %d", errSkipped, seq, want-1)
	}
	return nil
}

// skipped finds out why: the log lost it, else it is opened again, which shows
// whether it was purged.
func (r *logReader) skipped(ctx context.Context) error {
	hole, err := r.log.Hole(ctx, r.seq.Load()+1)
	switch {
	case err != nil:
		return err
	case hole != nil:
		return hole
	}
	return link.ErrGap
}

// pass hands on the next message.
func (r *logReader) pass(m jetstream.Msg, meta *jetstream.MsgMetadata, more bool) error {
	r.busy.Store(true)
	defer r.busy.Store(false)
	if r.stopped = r.fn(meta.Sequence.Stream, meta.Timestamp, m.Data(), more); r.stopped != nil {
		return r.stopped
	}
	r.at = meta.Timestamp
	r.seq.Store(meta.Sequence.Stream)
	return nil
}

// watch ends a subscription that fell silent while the log goes on: consumers
// were seen to do that after a restart of the bus, heartbeats and all.
func (r *logReader) watch(ctx context.Context, every time.Duration, silent context.CancelCauseFunc) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	last, behind := r.seq.Load(), false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now := r.seq.Load(); now != last || r.busy.Load() {
			last, behind = now, false
			continue
		}
		if behind { // again
			r.log.conn.Log.Warn("log went on and nothing came", events.KeyTable, r.log.id.Table, events.KeyShard, r.log.id.Shard, events.KeySeq, last)
			silent(errSilent)
			return
		}
		s, err := r.log.State(ctx)
		behind = err == nil && s.Last > last
		if behind {
			if hole, err := r.log.Hole(ctx, last+1); err == nil && hole != nil {
				silent(hole)
				return
			}
		}
		if errors.Is(err, events.ErrLogMissing) || errors.Is(err, events.ErrLogForeign) {
			silent(err)
			return
		}
	}
}
