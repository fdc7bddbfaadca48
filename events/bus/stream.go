package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ringway/events"
)

// incarnationKey is where a stream carries the id that it was created with.
const incarnationKey = "io.ringway.incarnation"

// rewindKey is where it says why it has another one now.
const rewindKey = "io.ringway.rewind"

// stream is a JetStream stream with our settings, created when it is missing.
// What is known of it is asked for again after every reconnect, before
// anything else is: the bus may have come back with an empty store.
type stream struct {
	conn *Conn
	want jetstream.StreamConfig

	mu   sync.Mutex
	life *life
}

// life is one incarnation of a stream, as seen through one connection.
type life struct {
	handle      jetstream.Stream
	incarnation string
	reconnects  uint64 // of the connection when this was read; stale: ask again
}

const stale = ^uint64(0)

// stream returns the one handle of this connection for a stream.
func (c *Conn) stream(want jetstream.StreamConfig) *stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.streams[want.Name]
	if !ok {
		s = &stream{conn: c, want: want}
		c.streams[want.Name] = s
	}
	return s
}

// open returns the life that is current. It asks the bus only after a
// reconnect or forget.
func (s *stream) open(ctx context.Context) (*life, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Read before asking: a reconnect in between makes the answer old.
	reconnects := s.conn.nats.Stats().Reconnects
	if s.life != nil && s.life.reconnects == reconnects {
		return s.life, nil
	}
	ctx, cancel, err := s.conn.request(ctx)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", s.want.Name, err)
	}
	defer cancel()
	handle, err := s.ensure(ctx)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", s.want.Name, explained(ctx, err))
	}
	now := &life{handle: handle, incarnation: incarnation(handle.CachedInfo()), reconnects: reconnects}
	if s.life != nil && s.life.incarnation != now.incarnation {
		s.conn.log.Warn("bus came back with another history", "stream", s.want.Name, events.KeyIncarnation, now.incarnation, "before", s.life.incarnation)
	}
	s.life = now
	return now, nil
}

// await opens the stream, waiting for a bus that is away or has no leader yet.
func (s *stream) await(ctx context.Context) (*life, error) {
	for attempt := 1; ; attempt++ {
		l, err := s.open(ctx)
		if err == nil || !passing(err) || ctx.Err() != nil {
			return l, err
		}
		if attempt == 5 {
			s.conn.log.Warn("waiting for a stream", "stream", s.want.Name, events.KeyError, err)
		}
		if !pause(ctx, attempt) {
			return nil, err
		}
	}
}

// forget makes the next open ask the bus again.
func (s *stream) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life != nil {
		s.life.reconnects = stale
	}
}

// beginAnew gives the stream another incarnation, if it has still the one that
// was seen last. Two who do so at once begin two lives, of which the later one
// stays: nobody takes one for the other.
func (s *stream) beginAnew(ctx context.Context, why string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life == nil {
		return errors.New("it was never opened")
	}
	ctx, cancel, err := s.conn.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	s.life.reconnects = stale // whatever comes of this
	handle, err := s.conn.js.Stream(ctx, s.want.Name)
	if err != nil {
		return explained(ctx, err)
	}
	if incarnation(handle.CachedInfo()) != s.life.incarnation {
		return nil
	}
	cfg := handle.CachedInfo().Config
	cfg.Metadata = maps.Clone(cfg.Metadata)
	if cfg.Metadata == nil {
		cfg.Metadata = map[string]string{}
	}
	cfg.Metadata[incarnationKey], cfg.Metadata[rewindKey] = rand.Text(), why
	if _, err := s.conn.js.UpdateStream(ctx, cfg); err != nil {
		return explained(ctx, err)
	}
	s.conn.log.Warn("stream begins a new life", "stream", s.want.Name, events.KeyIncarnation, cfg.Metadata[incarnationKey], "before", s.life.incarnation)
	return nil
}

func (s *stream) ensure(ctx context.Context) (jetstream.Stream, error) {
	handle, err := s.conn.js.Stream(ctx, s.want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		handle, err = s.create(ctx)
	}
	if err != nil {
		return nil, err
	}
	return s.conform(ctx, handle)
}

func (s *stream) create(ctx context.Context) (jetstream.Stream, error) {
	cfg := s.want
	cfg.Replicas = max(cfg.Replicas, 1)
	cfg.Metadata = map[string]string{incarnationKey: rand.Text()}
	handle, err := s.conn.js.CreateStream(ctx, cfg)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		// Another role was first; its incarnation counts.
		return s.conn.js.Stream(ctx, s.want.Name)
	}
	if err == nil {
		s.conn.log.Info("stream created", "stream", cfg.Name, events.KeyIncarnation, cfg.Metadata[incarnationKey])
	}
	return handle, err
}

// conform gives an existing stream our settings, as far as NATS can change
// them afterwards.
func (s *stream) conform(ctx context.Context, handle jetstream.Stream) (jetstream.Stream, error) {
	is := handle.CachedInfo().Config
	if is.Storage != s.want.Storage || is.Retention != s.want.Retention {
		return nil, fmt.Errorf("it exists with %s storage and %s retention, want %s and %s; delete it with `nats stream rm %s` if nothing in it is needed",
			is.Storage, is.Retention, s.want.Storage, s.want.Retention, s.want.Name)
	}
	cfg := is
	cfg.Subjects = s.want.Subjects
	cfg.MaxMsgsPerSubject, cfg.MaxBytes, cfg.MaxAge = s.want.MaxMsgsPerSubject, s.want.MaxBytes, s.want.MaxAge
	cfg.Discard, cfg.Duplicates, cfg.AllowRollup = s.want.Discard, s.want.Duplicates, s.want.AllowRollup
	if s.want.Replicas > 0 {
		cfg.Replicas = s.want.Replicas
	}
	if same(is, cfg) {
		return handle, nil
	}
	updated, err := s.conn.js.UpdateStream(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("it exists with other settings, which cannot be changed to ours: %w", err)
	}
	s.conn.log.Info("stream updated", "stream", cfg.Name)
	return updated, nil
}

// same compares what conform changes.
func same(a, b jetstream.StreamConfig) bool {
	return len(a.Subjects) == 1 && a.Subjects[0] == b.Subjects[0] &&
		a.MaxMsgsPerSubject == b.MaxMsgsPerSubject && a.MaxBytes == b.MaxBytes && a.MaxAge == b.MaxAge &&
		a.Discard == b.Discard && a.Duplicates == b.Duplicates && a.AllowRollup == b.AllowRollup && a.Replicas == b.Replicas
}

// incarnation is the id that we gave the stream; for one that others made,
// the time of its creation serves.
func incarnation(info *jetstream.StreamInfo) string {
	if id := info.Config.Metadata[incarnationKey]; id != "" {
		return id
	}
	return info.Created.UTC().Format("20060102T150405.000000000")
}

// passing reports whether err may go away by itself: no connection, no leader,
// an election.
func passing(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.ErrorCode == codeNoLeader || api.ErrorCode == codeNotEnabled || api.ErrorCode == codeNoPeers
	}
	for _, e := range []error{
		errAway, errLost, context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected,
		nats.ErrReconnectBufExceeded, nats.ErrConnectionReconnecting,
		jetstream.ErrJetStreamNotEnabled, jetstream.ErrNoStreamResponse, jetstream.ErrStreamNotFound,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Error codes of the JetStream API.
const (
	codeNoPeers           jetstream.ErrorCode = 10005 // no suitable peers for placement
	codeNoLeader          jetstream.ErrorCode = 10008 // the cluster has no leader now
	codeNotEnabled        jetstream.ErrorCode = 10076 // JetStream is not enabled (yet)
	codeWrongLast         jetstream.ErrorCode = 10071 // compare-and-set lost
	codeWrongLastReplicas jetstream.ErrorCode = 10164 // the same on replicated streams
	codeStoreFailed       jetstream.ErrorCode = 10077 // the disk failed; what it kept is unknown
)

// explained prefers the reason why ctx ended to "context canceled".
func explained(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, ctx.Err()) && !errors.Is(err, cause) {
		return cause
	}
	return err
}

// descriptions are what `nats kv ls` shows.
var descriptions = map[string]string{
	events.BucketDesired: "what people asked for",
	events.BucketAssign:  "what each host shall run",
	events.BucketRoutes:  "what routers obey",
	events.BucketLease:   "who leads",
}

// bucketConfig is how a bucket is stored: what NATS's own key/value clients
// expect, so that the stock CLI reads it.
func (c *Conn) bucketConfig(name string) jetstream.StreamConfig {
	cfg := jetstream.StreamConfig{
		Name: "KV_" + name, Subjects: []string{"$KV." + name + ".>"}, Description: descriptions[name],
		MaxMsgsPerSubject: 8, MaxBytes: -1, MaxMsgs: -1, MaxConsumers: -1, MaxMsgSize: -1,
		Storage: jetstream.FileStorage, Replicas: c.cfg.Replicas, Discard: jetstream.DiscardNew,
		Duplicates: 2 * time.Minute, AllowRollup: true, DenyDelete: true,
		// Direct gets are answered by any replica; without them the stream's
		// leader answers.
		AllowDirect: false,
	}
	if name == events.BucketLease {
		cfg.MaxMsgsPerSubject = 1
		cfg.MaxAge = c.cfg.LeaseTTL
		cfg.Duplicates = min(cfg.Duplicates, c.cfg.LeaseTTL)
	}
	return cfg
}

const (
	eventsMaxBytes = 256 << 20
	// A leader that repeats an event after this is told by Emitted.
	dedupWindow = 10 * time.Minute
)

func (c *Conn) eventsConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: events.StreamEvents, Subjects: []string{events.AllEvents},
		Description: "what happened, and why",
		MaxAge:      events.EventsKept, MaxBytes: eventsMaxBytes, MaxMsgs: -1, MaxConsumers: -1, MaxMsgSize: -1, MaxMsgsPerSubject: -1,
		Storage: jetstream.FileStorage, Replicas: c.cfg.Replicas, Discard: jetstream.DiscardOld, Duplicates: dedupWindow,
	}
}
