package logs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"ringway/events/bus/link"
)

// fetchWait is how long the bus may take to find out that it has no more for a
// fetch batch: it ends a request that asks for more than there is no sooner.
const fetchWait = 2 * time.Millisecond

var (
	// errOtherWay: messages are to be fetched now, or no longer.
	errOtherWay = errors.New("to be read in another way")
	// errFetch: a request for messages failed, for whatever reason. What is
	// wrong with the log is found when it is opened again.
	errFetch = errors.New("fetch")
)

func (r *logReader) fetching() bool { return r.batches != nil && r.batches.Fetch() }

// fetch reads through a consumer in fetch batches. The first message of one is waited
// for, so that a log where nothing happens costs nothing.
func (r *logReader) fetch(ctx context.Context, handle jetstream.Stream, cfg jetstream.ConsumerConfig) error {
	consumer, err := r.log.conn.Consumer(ctx, handle, cfg)
	if err != nil {
		return err
	}
	defer r.log.conn.Discard(ctx, handle, consumer)
	var read uint64 // of this consumer
	for behind := false; r.fetching(); {
		fetched, err := take(ctx, consumer, 1, jetstream.FetchContext(undated{ctx}), jetstream.FetchHeartbeat(link.TailHeartbeat))
		if err != nil {
			return err
		}
		if len(fetched) == 0 {
			continue
		}
		if !behind {
			r.batches.Wait(ctx)
		}
		more, err := take(ctx, consumer, messagesAhead-len(fetched), jetstream.FetchMaxBytes(readAhead), jetstream.FetchMaxWait(fetchWait))
		if err != nil {
			return err
		}
		if behind, err = r.deliver(append(fetched, more...), &read); err != nil {
			return err
		}
	}
	return errOtherWay
}

// deliver passes on one fetch batch after the read messages of a consumer, and reports
// whether as much again is there: then the batch was large, or the bus slow.
func (r *logReader) deliver(fetched []jetstream.Msg, read *uint64) (behind bool, err error) {
	metas, fault := r.sound(fetched, *read)
	for i, meta := range metas {
		if err := r.pass(fetched[i], meta, i < len(metas)-1); err != nil {
			return false, err
		}
	}
	n := uint64(len(metas))
	*read += n
	return n > 0 && metas[n-1].NumPending >= n, fault
}

// sound is how much of a fetch batch may be announced, and what is wrong with the
// rest: its reader waits for what is announced.
func (r *logReader) sound(fetched []jetstream.Msg, read uint64) ([]*jetstream.MsgMetadata, error) {
	metas, seq := make([]*jetstream.MsgMetadata, 0, len(fetched)), r.seq.Load()
	for _, m := range fetched {
		read, seq = read+1, seq+1
		meta, err := m.Metadata()
		if err != nil {
			return metas, fmt.Errorf("read consumer: %w", err)
		}
		if meta.Sequence.Consumer != read {
			return metas, link.ErrGap
		}
		if err := follows(meta.Sequence.Stream, seq); err != nil {
			return metas, err
		}
		metas = append(metas, meta)
	}
	return metas, nil
}

// take is all of one request. It ends with ctx, or within a second of fetchWait.
func take(ctx context.Context, consumer jetstream.Consumer, max int, how ...jetstream.FetchOpt) ([]jetstream.Msg, error) {
	failed := func(err error) ([]jetstream.Msg, error) {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("read consumer: %w", context.Cause(ctx))
		}
		return nil, fmt.Errorf("read consumer: %w: %w", errFetch, err)
	}
	if ctx.Err() != nil { // a request over a lost connection would be waited for
		return failed(nil)
	}
	batch, err := consumer.Fetch(max, how...)
	if err != nil {
		return failed(err)
	}
	var fetched []jetstream.Msg
	for m := range batch.Messages() {
		fetched = append(fetched, m)
	}
	if err := batch.Error(); err != nil {
		return failed(err)
	}
	return fetched, nil
}

// undated is a context whose deadline jetstream does not see. It would shorten
// the request to it, and refuse one that is too short for heartbeats.
type undated struct{ context.Context }

// Deadline implements context.Context.
func (undated) Deadline() (time.Time, bool) { return time.Time{}, false }
