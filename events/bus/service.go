package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"ringway/events"
	"ringway/events/bus/link"
)

// maxRequests is how many requests of one verb a service works on at once.
const maxRequests = 64

// A failure's code is an HTTP status. What was refused has a StatusError as body;
// the codes below mean something by themselves.
const (
	codeInternal = "500"
	codeLeader   = "503" // events.ErrNoLeader
	codeUnknown  = "504" // events.ErrUnknownOutcome
)

// semver is what the micro service wants of a version.
var semver = regexp.MustCompile(`^\d+\.\d+\.\d+([-+].*)?$`)

// Handler answers one request. What it returns is sent as JSON; an
// *events.StatusError, events.ErrNoLeader and events.ErrUnknownOutcome reach the
// caller as such.
type Handler = func(ctx context.Context, req []byte) (any, error)

// Serve answers ringway.api.<verb> as the NATS micro service `ringway`.
// Handlers run concurrently; their context ends with ctx or by stop, which
// returns when the last of them has. Requests that come after ctx ended are
// answered that nobody leads here.
func (c *Conn) Serve(ctx context.Context, version string, metadata map[string]string, verbs map[string]Handler) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	s := &service{conn: c, ctx: ctx, stats: map[string]*verbStats{}}
	cfg := micro.Config{
		Name: events.MicroService, Version: strings.TrimPrefix(version, "v"), Metadata: metadata,
		Description:  "what the CLI and the routers ask of the leader",
		StatsHandler: func(e *micro.Endpoint) any { return s.stats[e.Name].now() },
	}
	if !semver.MatchString(cfg.Version) {
		cfg.Version = "0.0.0-dev"
	}
	for verb := range verbs {
		s.stats[verb] = &verbStats{}
	}
	svc, err := micro.AddService(c.link.NATS, cfg)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("serve %s: %w", events.MicroService, err)
	}
	end := func() {
		if !c.withdraw(svc) {
			c.link.Late.Go(func() { c.withdrawLater(svc) })
		}
		cancel()
		s.stop()
	}
	for _, verb := range slices.Sorted(maps.Keys(verbs)) {
		answer := micro.HandlerFunc(s.handler(s.stats[verb], verbs[verb]))
		if err := svc.AddEndpoint(verb, answer, micro.WithEndpointSubject(events.APISubject(verb))); err != nil {
			end()
			return nil, fmt.Errorf("serve %s: %w", verb, err)
		}
	}
	c.settle()
	return sync.OnceFunc(end), nil
}

// withdraw takes the endpoints back, if the bus is there to take them. Without it the
// client would announce them again on its reconnect, drop them for itself
// alone, and requests would go on being sent to nobody.
func (c *Conn) withdraw(svc micro.Service) bool {
	if !c.Connected() || c.link.NATS.FlushTimeout(link.FlushTimeout) != nil {
		return false
	}
	if err := svc.Stop(); err != nil && !c.link.NATS.IsClosed() {
		c.link.Log.Warn("service did not stop cleanly", events.KeyError, err)
	}
	return true
}

// withdrawLater waits for the bus. Until then nobody is sent here, and between
// the reconnect and this the handlers answer that nobody leads.
func (c *Conn) withdrawLater(svc micro.Service) {
	for attempt := 1; ; attempt++ {
		if _, err := c.link.Online(c.link.Base); err != nil {
			return // the connection is closed, and took its endpoints along
		}
		if c.withdraw(svc) {
			return
		}
		link.Pause(c.link.Base, attempt)
	}
}

// service is one Serve.
type service struct {
	conn    *Conn
	ctx     context.Context // of the handlers: a request over NATS has none of its own
	stats   map[string]*verbStats
	mu      sync.Mutex
	stopped bool
	running sync.WaitGroup
}

// verbStats is what `nats micro stats` shows of a verb beside NATS's own
// counters, which end when a request is handed to its goroutine.
type verbStats struct {
	running, refused, failed atomic.Int64
}

func (s *verbStats) now() map[string]int64 {
	return map[string]int64{"running": s.running.Load(), "refused": s.refused.Load(), "failed": s.failed.Load()}
}

// handler gives each request a goroutine. The answer does not go through
// micro.Request: its bookkeeping ends when the handler returns.
func (s *service) handler(stats *verbStats, handle Handler) func(micro.Request) {
	return func(r micro.Request) {
		reply, body := r.Reply(), r.Data()
		if reply == "" {
			return // nobody waits for an answer
		}
		if stats.running.Add(1) > maxRequests {
			stats.running.Add(-1)
			s.answer(stats, reply, nil, events.StatusErrorf(503, "the controller is busy with %d requests; try again", maxRequests))
			return
		}
		started := s.start(func() {
			value, err := handle(s.ctx, body)
			if err != nil && s.ctx.Err() != nil && errors.Is(err, s.ctx.Err()) {
				// It was stopped in the middle.
				err = fmt.Errorf("%w: %w", events.ErrUnknownOutcome, err)
			}
			stats.running.Add(-1)
			s.answer(stats, reply, value, err)
		})
		if !started {
			stats.running.Add(-1)
			s.answer(stats, reply, nil, events.ErrNoLeader)
		}
	}
}

// start runs fn unless the service has ended: NATS hands over what it had in
// its queue after that.
func (s *service) start(fn func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || s.ctx.Err() != nil {
		return false
	}
	s.running.Go(fn)
	return true
}

func (s *service) stop() {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.running.Wait()
}

func (s *service) answer(stats *verbStats, reply string, value any, err error) {
	m := &nats.Msg{Subject: reply}
	if err == nil {
		if m.Data, err = json.Marshal(value); err != nil {
			err = fmt.Errorf("encode the answer: %w", err)
		}
	}
	if err != nil {
		m.Header, m.Data = failure(err)
		if m.Data != nil {
			stats.refused.Add(1)
		} else {
			stats.failed.Add(1)
		}
	}
	if err := s.conn.link.NATS.PublishMsg(m); err != nil {
		s.conn.link.Log.Warn("answer could not be sent", events.KeyError, err)
	}
}

// failure is err as the micro service protocol has it.
func failure(err error) (nats.Header, []byte) {
	var statusErr *events.StatusError
	var body []byte
	code := codeInternal
	switch {
	case errors.As(err, &statusErr):
		code = strconv.Itoa(statusErr.Code)
		body, _ = json.Marshal(statusErr) // an int and a string always encode
	case errors.Is(err, events.ErrUnknownOutcome):
		code = codeUnknown
	case errors.Is(err, events.ErrNoLeader):
		code = codeLeader
	}
	// A header ends at a line's end.
	text := strings.Join(strings.Fields(err.Error()), " ")
	return nats.Header{micro.ErrorHeader: {text}, micro.ErrorCodeHeader: {code}}, body
}

// Request sends a request to the leader. A refusal comes back as *events.StatusError.
// events.ErrNoLeader: nobody was there, nothing happened.
// events.ErrUnknownOutcome: it was sent, but no answer came before ctx or the
// connection ended; repeating it with the same id in the request is safe.
// Without a deadline in ctx it waits for the configured timeout.
func (c *Conn) Request(ctx context.Context, verb string, req, reply any) error {
	if err := c.ask(ctx, verb, req, reply); err != nil {
		return fmt.Errorf("request %s: %w", verb, err)
	}
	return nil
}

func (c *Conn) ask(ctx context.Context, verb string, req, reply any) error {
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if _, ok := ctx.Deadline(); !ok {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, c.link.Config.Timeout)
		defer stop()
	}
	line, err := c.link.Line()
	if err != nil {
		return fmt.Errorf("%w: %w", events.ErrNoLeader, err)
	}
	ctx, drop := link.Joined(ctx, line)
	defer drop()
	m, err := c.link.NATS.RequestMsgWithContext(ctx, &nats.Msg{Subject: events.APISubject(verb), Data: body})
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return events.ErrNoLeader
	case errors.Is(err, nats.ErrReconnectBufExceeded):
		return fmt.Errorf("%w: %w", events.ErrNoLeader, link.ErrAway)
	case errors.Is(err, nats.ErrMaxPayload):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", events.ErrUnknownOutcome, link.Explained(ctx, err))
	}
	if err := failed(m); err != nil {
		return err
	}
	if reply == nil {
		return nil
	}
	if err := json.Unmarshal(m.Data, reply); err != nil {
		return fmt.Errorf("decode the answer: %w", err)
	}
	return nil
}

// failed is the error that an answer carries; the reverse of failure.
func failed(m *nats.Msg) error {
	code, text := m.Header.Get(micro.ErrorCodeHeader), m.Header.Get(micro.ErrorHeader)
	if code == "" && text == "" {
		return nil
	}
	statusErr := &events.StatusError{}
	if len(m.Data) > 0 && json.Unmarshal(m.Data, statusErr) == nil && statusErr.Code != 0 {
		return statusErr
	}
	switch code {
	case codeLeader:
		return events.ErrNoLeader
	case codeUnknown:
		return fmt.Errorf("%w: %s", events.ErrUnknownOutcome, text)
	}
	return fmt.Errorf("the controller failed: %s", text)
}
