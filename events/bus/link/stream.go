package link

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"ringway/events"
)

// IncarnationKey is where a stream carries the id that it was created with.
const IncarnationKey = "io.ringway.incarnation"

// RollbackKey is where a stream carries why it has another one now.
const RollbackKey = "io.ringway.rewind"

// Stream is a JetStream stream with our settings, created when it is missing.
// What is known of it is read again after every reconnect, before
// anything else is: the bus may have come back with an empty store.
type Stream struct {
	conn *Conn
	want jetstream.StreamConfig

	mu   sync.Mutex
	life *Life
}

// Life is one incarnation of a stream, as seen through one connection.
type Life struct {
	Handle      jetstream.Stream
	Incarnation string
	reconnects  uint64 // of the connection when this was read; stale: read again
}

const stale = ^uint64(0)

// Stream returns the one handle of this connection for a stream.
func (c *Conn) Stream(want jetstream.StreamConfig) *Stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.streams[want.Name]
	if !ok {
		s = &Stream{conn: c, want: want}
		c.streams[want.Name] = s
	}
	return s
}

// Open returns the life that is current. It reads it from the bus only after a
// reconnect or Forget.
func (s *Stream) Open(ctx context.Context) (*Life, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Read before the request: a reconnect in between makes the answer old.
	reconnects := s.conn.NATS.Stats().Reconnects
	if s.life != nil && s.life.reconnects == reconnects {
		return s.life, nil
	}
	ctx, cancel, err := s.conn.Begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", s.want.Name, err)
	}
	defer cancel()
	handle, err := s.ensure(ctx)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", s.want.Name, Explained(ctx, err))
	}
	now := &Life{Handle: handle, Incarnation: Incarnation(handle.CachedInfo()), reconnects: reconnects}
	if s.life != nil && s.life.Incarnation != now.Incarnation {
		s.conn.Log.Warn("bus came back with another history", "stream", s.want.Name, events.KeyIncarnation, now.Incarnation, "before", s.life.Incarnation)
	}
	s.life = now
	return now, nil
}

// Await opens the stream, waiting for a bus that is away or has no leader yet.
func (s *Stream) Await(ctx context.Context) (*Life, error) {
	for attempt := 1; ; attempt++ {
		l, err := s.Open(ctx)
		if err == nil || !Passing(err) || ctx.Err() != nil {
			return l, err
		}
		if attempt == 5 {
			s.conn.Log.Warn("waiting for a stream", "stream", s.want.Name, events.KeyError, err)
		}
		if !Pause(ctx, attempt) {
			return nil, err
		}
	}
}

// Newest is the newest message on a subject, and the life that it is of, or
// events.ErrNotFound.
func (s *Stream) Newest(ctx context.Context, subject string) (*Life, *jetstream.RawStreamMsg, error) {
	l, err := s.Open(ctx)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel, err := s.conn.Begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer cancel()
	m, err := l.Handle.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil, events.ErrNotFound
	}
	if err != nil {
		s.Forget()
		return nil, nil, Explained(ctx, err)
	}
	return l, m, nil
}

// Name is that of the stream.
func (s *Stream) Name() string { return s.want.Name }

// Last is the life that was seen last; nil: none was.
func (s *Stream) Last() *Life {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.life
}

// Forget makes the next Open read from the bus again.
func (s *Stream) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life != nil {
		s.life.reconnects = stale
	}
}

// BeginAnew gives the stream another incarnation, if it has still the one that
// was seen last. Two who do so at once begin two lives, of which the later one
// stays: nobody takes one for the other.
func (s *Stream) BeginAnew(ctx context.Context, why string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life == nil {
		return errors.New("it was never opened")
	}
	ctx, cancel, err := s.conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	s.life.reconnects = stale // whatever comes of this
	handle, err := s.conn.JS.Stream(ctx, s.want.Name)
	if err != nil {
		return Explained(ctx, err)
	}
	if Incarnation(handle.CachedInfo()) != s.life.Incarnation {
		return nil
	}
	cfg := handle.CachedInfo().Config
	cfg.Metadata = maps.Clone(cfg.Metadata)
	if cfg.Metadata == nil {
		cfg.Metadata = map[string]string{}
	}
	cfg.Metadata[IncarnationKey], cfg.Metadata[RollbackKey] = rand.Text(), why
	if _, err := s.conn.JS.UpdateStream(ctx, cfg); err != nil {
		return Explained(ctx, err)
	}
	s.conn.Log.Warn("stream begins a new life", "stream", s.want.Name, events.KeyIncarnation, cfg.Metadata[IncarnationKey], "before", s.life.Incarnation)
	return nil
}

func (s *Stream) ensure(ctx context.Context) (jetstream.Stream, error) {
	handle, err := s.conn.JS.Stream(ctx, s.want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		handle, err = s.create(ctx)
	}
	if err != nil {
		return nil, err
	}
	return s.conform(ctx, handle)
}

func (s *Stream) create(ctx context.Context) (jetstream.Stream, error) {
	cfg := s.want
	cfg.Metadata = map[string]string{IncarnationKey: rand.Text()}
	handle, err := s.conn.CreateStream(ctx, cfg)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		// Another role was first; its incarnation counts.
		return s.conn.JS.Stream(ctx, s.want.Name)
	}
	if err == nil {
		s.conn.Log.Info("stream created", "stream", cfg.Name, events.KeyIncarnation, cfg.Metadata[IncarnationKey])
	}
	return handle, err
}

// conform gives an existing stream our settings, as far as NATS can change
// them afterwards. Copies are AddCopies's.
func (s *Stream) conform(ctx context.Context, handle jetstream.Stream) (jetstream.Stream, error) {
	is := handle.CachedInfo().Config
	if is.Storage != s.want.Storage || is.Retention != s.want.Retention {
		return nil, fmt.Errorf("it exists with %s storage and %s retention, want %s and %s; delete it with `nats stream rm %s` if nothing in it is needed",
			is.Storage, is.Retention, s.want.Storage, s.want.Retention, s.want.Name)
	}
	cfg := is
	cfg.Subjects = s.want.Subjects
	cfg.MaxMsgsPerSubject, cfg.MaxBytes, cfg.MaxAge = s.want.MaxMsgsPerSubject, s.want.MaxBytes, s.want.MaxAge
	cfg.Discard, cfg.Duplicates, cfg.AllowRollup = s.want.Discard, s.want.Duplicates, s.want.AllowRollup
	if same(is, cfg) {
		return handle, nil
	}
	updated, err := s.conn.JS.UpdateStream(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("it exists with other settings, which cannot be changed to ours: %w", err)
	}
	s.conn.Log.Info("stream updated", "stream", cfg.Name)
	return updated, nil
}

// same compares what conform changes.
func same(a, b jetstream.StreamConfig) bool {
	return len(a.Subjects) == 1 && a.Subjects[0] == b.Subjects[0] &&
		a.MaxMsgsPerSubject == b.MaxMsgsPerSubject && a.MaxBytes == b.MaxBytes && a.MaxAge == b.MaxAge &&
		a.Discard == b.Discard && a.Duplicates == b.Duplicates && a.AllowRollup == b.AllowRollup
}

// Incarnation is the id that we gave the stream; for one that others made,
// the time of its creation serves.
func Incarnation(info *jetstream.StreamInfo) string {
	if id := info.Config.Metadata[IncarnationKey]; id != "" {
		return id
	}
	return info.Created.UTC().Format("20060102T150405.000000000")
}
