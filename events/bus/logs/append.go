package logs

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ringway/events"
	"ringway/events/bus/link"
	"ringway/events/shardlog"
)

// Append is Log(id).Append.
func (c *Logs) Append(ctx context.Context, id events.LogID, batch string, data []byte) (uint64, error) {
	return c.Log(id).Append(ctx, batch, data)
}

// Append stores data at the end of the log and returns its seq when it is as
// durable as the bus makes it. Within shardlog.LogDedup the same batch id is
// stored once and gets the seq of the first.
//
// events.ErrUnknownOutcome: it is stored or not, and may be stored later; the
// same call again finds out. Any other error: nothing was stored by this call. Of
// those, events.ErrLogMissing, ErrLogForeign, ErrLogFull and a refusal (413,
// too large) do not pass by themselves.
func (l *Log) Append(ctx context.Context, batch string, data []byte) (uint64, error) {
	fail := func(err error) (uint64, error) {
		return 0, fmt.Errorf("append batch %s to log %s: %w", batch, l.id, err)
	}
	if batch == "" {
		return fail(errors.New("no batch id given")) // NATS stores such a message each time it comes
	}
	if len(data) > shardlog.MaxBatchBytes {
		return fail(events.StatusErrorf(413, "a batch of %d bytes is too large; at most %d", len(data), shardlog.MaxBatchBytes))
	}
	var ack *jetstream.PubAck
	var before uint64
	tried, err := l.ask(ctx, func(ctx context.Context, handle jetstream.Stream) (err error) {
		l.mu.Lock()
		before = l.newest
		l.mu.Unlock()
		m := &nats.Msg{Subject: events.LogSubject(l.id.Table, l.id.Shard), Data: data}
		ack, err = l.conn.JS.PublishMsg(ctx, m, jetstream.WithMsgID(batch), jetstream.WithExpectStream(handle.CachedInfo().Config.Name))
		return err
	})
	if err != nil {
		if tried {
			if !errors.Is(ctx.Err(), context.Canceled) { // that a caller waits no longer means nothing for the log
				l.forget()
			}
			err = appendOutcome(err)
		}
		return fail(err)
	}
	if !ack.Duplicate && ack.Sequence <= before {
		// The log was deleted and made anew, without a reconnect.
		l.forget()
		return fail(fmt.Errorf("%w: %w: it went back from %d to %d", events.ErrUnknownOutcome, events.ErrLogForeign, before, ack.Sequence))
	}
	l.mu.Lock()
	l.newest = max(l.newest, ack.Sequence)
	l.mu.Unlock()
	return ack.Sequence, nil
}

// Error codes of JetStream's answers to a publish.
const (
	codeInProcess   jetstream.ErrorCode = 10158 // the same id is on its way to a majority
	codeTooLarge    jetstream.ErrorCode = 10054
	codeOtherStream jetstream.ErrorCode = 10060 // another stream took the subject
	codeNoResources jetstream.ErrorCode = 10023 // of the server
	codeAccountFull jetstream.ErrorCode = 10002
	codeStorageFull jetstream.ErrorCode = 10047
)

// appendOutcome is what is known after a failed append to a log. It differs
// from link.Outcome in that nothing may be taken for refused that can be there.
func appendOutcome(err error) error {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		if errors.Is(err, nats.ErrMaxPayload) {
			return fmt.Errorf("%w: %w", events.StatusErrorf(413, "the bus takes no batch of this size"), err)
		}
		return link.Outcome(err)
	}
	switch api.ErrorCode {
	case codeInProcess:
		return fmt.Errorf("%w: %w", events.ErrUnknownOutcome, err)
	case codeTooLarge:
		return fmt.Errorf("%w: %w", events.StatusErrorf(413, "the bus takes no batch of this size"), err)
	case codeOtherStream:
		return fmt.Errorf("%w: %w", events.ErrLogForeign, err)
	case codeNoResources, codeAccountFull, codeStorageFull:
		return fmt.Errorf("%w: %w", events.ErrLogFull, err)
	case link.CodeStoreFailed:
		// One code for every fault of a store. A limit was checked before
		// anything was written; of the rest, who knows.
		if strings.Contains(api.Description, "maximum bytes exceeded") || strings.Contains(api.Description, "maximum messages exceeded") {
			return fmt.Errorf("%w: %w", events.ErrLogFull, err)
		}
	}
	return link.Outcome(err)
}
