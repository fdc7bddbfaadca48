package bus

import (
	"encoding/json"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go"

	"ringway/events/bus/link"
)

// inboxSize bounds what waits for a slow listener: some minutes of heartbeats
// of fifty hosts.
const inboxSize = 4096

// Publish sends v as JSON to all who listen now. It does not wait for the bus
// and keeps nothing for later: it fails when the bus is away.
func (c *Conn) Publish(subject string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("publish on %s: %w", subject, err)
	}
	if err := c.link.NATS.Publish(subject, body); err != nil {
		return fmt.Errorf("publish on %s: %w", subject, err)
	}
	return nil
}

// Listen calls fn for each message on subject, one at a time and in order.
// When fn is slow the oldest messages are dropped. The subscription outlives
// reconnects. stop returns after the last call of fn; fn must not call it.
func (c *Conn) Listen(subject string, fn func(subject string, data []byte)) (stop func(), err error) {
	in := &inbox{wake: make(chan struct{}, 1), done: make(chan struct{})}
	sub, err := c.link.NATS.Subscribe(subject, func(m *nats.Msg) {
		if in.put(m) {
			c.link.Log.Warn("listener is slow, dropping the oldest messages", "subject", subject)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", subject, err)
	}
	var worker sync.WaitGroup
	worker.Go(func() { in.deliver(fn) })
	c.settle()
	return sync.OnceFunc(func() {
		_ = sub.Unsubscribe() // fails only when the connection has ended
		close(in.done)
		worker.Wait()
	}), nil
}

// settle makes sure that the bus knows a new subscription, if it is there.
func (c *Conn) settle() {
	if c.Connected() {
		_ = c.link.NATS.FlushTimeout(link.FlushTimeout) // a reconnect subscribes again
	}
}

// inbox is a bounded queue that forgets its oldest message when it is full.
type inbox struct {
	mu   sync.Mutex
	msgs []*nats.Msg
	full bool // and that was logged
	wake chan struct{}
	done chan struct{}
}

// put reports whether it had to drop a message for the first time since the
// queue was last empty.
func (in *inbox) put(m *nats.Msg) (dropping bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.msgs) == inboxSize {
		in.msgs[0] = nil
		in.msgs = in.msgs[1:]
		dropping, in.full = !in.full, true
	}
	in.msgs = append(in.msgs, m)
	select {
	case in.wake <- struct{}{}:
	default:
	}
	return dropping
}

func (in *inbox) take() *nats.Msg {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.msgs) == 0 {
		in.full = false
		in.msgs = nil
		return nil
	}
	m := in.msgs[0]
	in.msgs[0] = nil
	in.msgs = in.msgs[1:]
	return m
}

func (in *inbox) deliver(fn func(string, []byte)) {
	for {
		select {
		case <-in.done:
			return
		default:
		}
		if m := in.take(); m != nil {
			fn(m.Subject, m.Data)
			continue
		}
		select {
		case <-in.done:
			return
		case <-in.wake:
		}
	}
}
