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
	inbox, done := make(chan *nats.Msg, inboxSize), make(chan struct{})
	warned := false // since the inbox was last empty
	sub, err := c.link.NATS.Subscribe(subject, func(m *nats.Msg) {
		warned = warned && len(inbox) > 0
		for !offer(inbox, m) {
			select {
			case <-inbox:
			default: // fn took the oldest just now
			}
			if !warned {
				warned = true
				c.link.Log.Warn("listener is slow, dropping the oldest messages", "subject", subject)
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", subject, err)
	}
	var worker sync.WaitGroup
	worker.Go(func() {
		for {
			select {
			case <-done:
				return
			case m := <-inbox:
				fn(m.Subject, m.Data)
			}
		}
	})
	c.settle()
	return sync.OnceFunc(func() {
		_ = sub.Unsubscribe() // fails only when the connection has ended
		close(done)
		worker.Wait()
	}), nil
}

// offer reports false when the inbox is full.
func offer(inbox chan<- *nats.Msg, m *nats.Msg) bool {
	select {
	case inbox <- m:
		return true
	default:
		return false
	}
}

// settle makes sure that the bus knows a new subscription, if it is there.
func (c *Conn) settle() {
	if c.Connected() {
		_ = c.link.NATS.FlushTimeout(link.FlushTimeout) // a reconnect subscribes again
	}
}
