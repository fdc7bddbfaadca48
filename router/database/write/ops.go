package write

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/events/shardlog"
	"ringway/router/answer"
	"ringway/router/database/api"
	"ringway/router/database/catalog"
	"ringway/router/database/hedge"
)

// PathOps begins the path at which clients ask what became of an op.
const PathOps = "/v1/ops/"

// Results implements oplog.Asker: the responder is asked first, then the
// others.
func (w *Writer) Results(ctx context.Context, log events.LogID, batch string) (shardlog.Results, error) {
	t := w.catalog.Tables().Table(log.Table)
	if t == nil {
		return shardlog.Results{}, fmt.Errorf("table %s: %w", log.Table, errNoReplica)
	}
	s := t.Shard(log.Shard)
	if s == nil || s.Log != log {
		return shardlog.Results{}, fmt.Errorf("log %s: %w", log, errNoReplica)
	}
	return w.results(ctx, s, batch)
}

var errNoReplica = errors.New("no replica can be asked")

// results asks the replicas of a shard, the next one when one fails or takes
// long. events.ErrNotFound: at least one could be asked, and none of them knows
// the batch.
func (w *Writer) results(ctx context.Context, s *catalog.Shard, batch string) (shardlog.Results, error) {
	failed := errNoReplica
	results, _, err := hedge.First(ctx, s.ResponderFirst(), hedge.Policy[*catalog.Replica, shardlog.Results]{
		After: w.hedge,
		Ask: func(ctx context.Context, r *catalog.Replica) (shardlog.Results, error) {
			return resultsOf(ctx, s, r, batch)
		},
		Failed: func(_ *catalog.Replica, err error) {
			switch {
			case errors.Is(err, events.ErrNotFound):
				failed = err
			case !errors.Is(failed, events.ErrNotFound):
				failed = fmt.Errorf("%w: %w", errNoReplica, err)
			}
		},
	})
	if err == nil || ctx.Err() != nil {
		return results, err
	}
	return shardlog.Results{}, fmt.Errorf("batch %s of shard %s: %w", batch, s.ID, failed)
}

// resultsOf asks one replica.
func resultsOf(ctx context.Context, s *catalog.Shard, r *catalog.Replica, batch string) (shardlog.Results, error) {
	results, err := r.Client.Results(ctx, s.Log, batch)
	if err != nil {
		err = fmt.Errorf("server %s: %w", r.Server, err)
	}
	return results, err
}

// ShowOp answers /v1/ops/<id>.
func (w *Writer) ShowOp(ctx *fasthttp.RequestCtx, id string) error {
	s, batch, i, err := w.parseOp(id)
	if err != nil {
		return err
	}
	whole, cancel := w.group.WithTimeout(w.cfg.Ask)
	defer cancel()
	results, err := w.results(whole, s, batch)
	var open time.Duration // how long it may be on its way still
	if errors.Is(err, events.ErrNotFound) {
		open = w.mayCome(batch) // before the barrier
		results, err = w.resultsBeyond(whole, s, batch)
	}
	switch {
	case errors.Is(err, events.ErrNotFound) && open > 0:
		return events.StatusErrorf(http.StatusServiceUnavailable, "op %.200s is not known yet: its router may still be sending it; ask again, for %s at most", id, (open + time.Second - 1).Truncate(time.Second))
	case errors.Is(err, events.ErrNotFound), err == nil && i >= results.Ops:
		return events.StatusErrorf(http.StatusNotFound, "op %.200s is not known: it was never applied, or more than %s ago", id, shardlog.ResultsKept)
	case err != nil:
		return events.StatusErrorf(http.StatusServiceUnavailable, "op %.200s: %s", id, err)
	}
	r := results.Op(i)
	answer.Value(ctx, struct {
		Op      string           `json:"op"`
		Outcome shardlog.Outcome `json:"outcome"`
		Keys    []int64          `json:"keys,omitempty"`
		Count   int              `json:"count,omitempty"`
		Of      string           `json:"of,omitempty"`
		Detail  string           `json:"detail,omitempty"`
		Seq     uint64           `json:"seq"`
		Status  string           `json:"status"`
	}{id, r.Outcome, r.Keys, r.Count, r.Of, r.Detail, results.Seq, answer.Success})
	return nil
}

// mayCome is how long a batch may still come into the log behind a barrier, at
// most. One of this router cannot: both go one way, one after the other.
func (w *Writer) mayCome(batch string) time.Duration {
	if w.oplog.Owns(batch) {
		return 0
	}
	now := time.Now()
	return w.cfg.UnknownFor - now.Sub(w.unknown.firstAsked(batch, now))
}

// resultsBeyond asks again a replica that has applied all that is in the log
// by now.
func (w *Writer) resultsBeyond(ctx context.Context, s *catalog.Shard, batch string) (shardlog.Results, error) {
	barrier, err := w.Barrier(ctx, s)
	if err != nil {
		return shardlog.Results{}, err
	}
	failed := errNoReplica
	for _, r := range s.ResponderFirst() {
		if err := r.Wait(ctx, s, barrier); err != nil {
			failed = err
			continue
		}
		return resultsOf(ctx, s, r, batch)
	}
	return shardlog.Results{}, failed
}

// parseOp reads an op id as clients have it.
func (w *Writer) parseOp(id string) (*catalog.Shard, string, int, error) {
	fail := func(err error) (*catalog.Shard, string, int, error) { return nil, "", 0, err }
	ts := w.catalog.Tables()
	if ts.Empty() {
		return fail(ts.NoTable())
	}
	table, rest, _ := strings.Cut(id, ".")
	name, op, ok := strings.Cut(rest, ".")
	if !ok {
		return fail(api.BadRequest("op id %.200q: want <table>.<shard>.<batch>.<number>", id))
	}
	batch, i, err := shardlog.ParseOpID(op)
	if err != nil {
		return fail(err)
	}
	t := ts.Table(table)
	if t == nil || t.Shard(name) == nil {
		return fail(events.StatusErrorf(http.StatusNotFound, "op %.200q: there is no such table or shard", id))
	}
	return t.Shard(name), batch, i, nil
}
