// Package link is a connection to NATS that outlives its server, and what all
// that goes over it shares: bounded exchanges, streams with our settings, readers
// of streams, and what an error means.
package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ringway/events"
)

// Config is how to reach a bus.
type Config struct {
	URL      string        // nats://host:port, several separated by commas
	Name     string        // of this client, as `nats server report connections` shows it
	Wait     bool          // Connect returns at once and the bus is looked for until it is there
	Replicas int           // copies of streams that this client makes: a number, or AsServers; 0 is 1
	LogBytes int64         // that the log of one shard may hold; 0: what the bus has space for
	Timeout  time.Duration // of one request to the bus
}

// DefaultConfig is a client of a bus on this machine.
func DefaultConfig() Config {
	return Config{URL: "nats://127.0.0.1:4222", Timeout: 5 * time.Second}
}

const (
	// A bus that is stopped or cut off is noticed after the pings below went
	// unanswered.
	clientPing     = time.Second
	clientPingsOut = 3
	dialTimeout    = time.Second
	// Publish copies into a buffer; once that is full it writes itself and
	// waits at most this long for a bus that does not read.
	writeTimeout = time.Second
	FlushTimeout = time.Second

	// All are back before a new leader, elected on a bus that has just come
	// back, takes anybody's silence for more than that (1.5 s).
	minReconnect = 100 * time.Millisecond
	maxReconnect = 500 * time.Millisecond

	oldestServer = "2.15.0"
)

var (
	// ErrAway is the error of an operation that was not even tried.
	ErrAway = errors.New("the bus is away")
	errLost = errors.New("the connection to the bus was lost")
)

// Conn is a connection to the bus. All methods may be called at the same time.
type Conn struct {
	Config Config
	Log    *slog.Logger
	NATS   *nats.Conn
	JS     jetstream.JetStream
	closed chan struct{}

	Base context.Context // values of Connect's context, never ends
	Late sync.WaitGroup  // what a bus that is away still has to learn

	mu      sync.Mutex
	line    context.Context // ends when the connection is lost
	cut     context.CancelCauseFunc
	up      chan struct{} // closed while connected
	streams map[string]*Stream
}

// Connect opens a connection. Without cfg.Wait it fails when there is no bus;
// with it a role can begin its work before there is one.
func Connect(ctx context.Context, cfg Config, log *slog.Logger) (*Conn, error) {
	c := &Conn{Config: cfg, Log: log.With(events.KeyBus, cfg.URL), closed: make(chan struct{}), up: make(chan struct{}), streams: map[string]*Stream{}}
	c.Base = context.WithoutCancel(ctx)
	c.line, c.cut = context.WithCancelCause(c.Base)
	c.cut(ErrAway)
	nc, err := nats.Connect(cfg.URL, c.options()...)
	if err != nil {
		return nil, fmt.Errorf("connect to the bus at %s: %w", cfg.URL, err)
	}
	c.NATS = nc
	if c.JS, err = jetstream.New(nc, jetstream.WithDefaultTimeout(cfg.Timeout)); err != nil {
		c.Close()
		return nil, fmt.Errorf("connect to the bus at %s: %w", cfg.URL, err)
	}
	if cfg.Wait && !nc.IsConnected() {
		c.Log.Info("bus is not there yet")
		return c, nil
	}
	if _, err := c.Online(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("connect to the bus at %s: %w", cfg.URL, err)
	}
	if v := nc.ConnectedServerVersion(); !atLeast(v, oldestServer) {
		c.Log.Warn("bus is older than Ringway was tested with", "version", v, "want", oldestServer)
	}
	return c, nil
}

func (c *Conn) options() []nats.Option {
	options := []nats.Option{
		nats.Name(c.Config.Name),
		nats.Timeout(dialTimeout),
		nats.PingInterval(clientPing), nats.MaxPingsOutstanding(clientPingsOut),
		nats.FlusherTimeout(writeTimeout),
		nats.MaxReconnects(-1), nats.CustomReconnectDelay(reconnectDelay), nats.IgnoreAuthErrorAbort(),
		// Nothing is kept for later: a heartbeat of the past is a lie.
		nats.ReconnectBufSize(-1),
		nats.ConnectHandler(func(*nats.Conn) { c.regained("bus is there") }),
		nats.ReconnectHandler(func(*nats.Conn) { c.regained("bus is back") }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { c.lost(err) }),
		nats.ClosedHandler(func(*nats.Conn) { c.lost(nil); close(c.closed) }),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			c.Log.Warn("bus reports an error", "subject", subject, events.KeyError, err)
		}),
	}
	if c.Config.Wait {
		options = append(options, nats.RetryOnFailedConnect(true))
	}
	return options
}

// reconnectDelay doubles from minReconnect to maxReconnect and spreads the
// clients of a bus over half of it.
func reconnectDelay(attempts int) time.Duration {
	d := maxReconnect
	if attempts < 4 {
		d = min(d, minReconnect<<max(attempts-1, 0))
	}
	return d/2 + rand.N(d/2)
}

func (c *Conn) regained(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.up:
		return
	default:
	}
	c.line, c.cut = context.WithCancelCause(c.Base)
	close(c.up)
	c.Log.Debug(what)
}

func (c *Conn) lost(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.up:
	default:
		return
	}
	c.up = make(chan struct{})
	c.cut(errLost)
	if err != nil {
		c.Log.Warn("bus is away", events.KeyError, err)
	}
}

// Online waits for the connection and returns a context that ends when it is
// lost.
func (c *Conn) Online(ctx context.Context) (context.Context, error) {
	for {
		c.mu.Lock()
		up, line := c.up, c.line
		c.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the bus: %w", context.Cause(ctx))
		case <-c.closed:
			return nil, fmt.Errorf("wait for the bus: %w", nats.ErrConnectionClosed)
		case <-up:
			return line, nil
		}
	}
}

// Line is a context that ends when the connection is lost, or ErrAway.
func (c *Conn) Line() (context.Context, error) {
	if !c.Connected() {
		return nil, ErrAway
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.line.Err() != nil {
		return nil, ErrAway
	}
	return c.line, nil
}

// Begin bounds one exchange with the bus: by ctx, by the configured timeout,
// and by the connection, because an answer does not survive it. It refuses
// when there is no connection.
func (c *Conn) Begin(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, context.Cause(ctx)
	}
	line, err := c.Line()
	if err != nil {
		return nil, nil, err
	}
	ctx, stop := context.WithTimeout(ctx, c.Config.Timeout)
	ctx, drop := Joined(ctx, line)
	return ctx, func() { drop(); stop() }, nil
}

// Joined is ctx that also ends when line ends.
func Joined(ctx, line context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(line, func() { cancel(context.Cause(line)) })
	return ctx, func() { stop(); cancel(nil) }
}

// Close ends the connection after sending what was published.
func (c *Conn) Close() {
	if c.NATS.IsConnected() {
		_ = c.NATS.FlushTimeout(FlushTimeout) // what does not leave now is lost anyhow
	}
	c.NATS.Close()
	<-c.closed
	c.Late.Wait()
}

// Server is the name of the bus server; empty while there is none.
func (c *Conn) Server() string { return c.NATS.ConnectedServerName() }

// Connected reports whether the bus is there.
func (c *Conn) Connected() bool { return c.NATS.Status() == nats.CONNECTED }

// atLeast compares dotted versions; one that it cannot read is new enough.
func atLeast(version, want string) bool {
	var a, b [3]int
	if _, err := fmt.Sscanf(version, "%d.%d.%d", &a[0], &a[1], &a[2]); err != nil {
		return true
	}
	if _, err := fmt.Sscanf(want, "%d.%d.%d", &b[0], &b[1], &b[2]); err != nil {
		panic("BUG: version " + want)
	}
	return slices.Compare(a[:], b[:]) >= 0
}

// Pause waits before another attempt, longer each time; it reports false when
// ctx ended.
func Pause(ctx context.Context, attempt int) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(reconnectDelay(attempt)):
		return true
	}
}
