package database

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/router/answer"
)

// maxResults is the size of the largest answer to what became of a batch:
// every op of the largest one with all the keys that are listed.
const maxResults = 64 << 20

// Results implements oplog.Asker: the responder is asked first, then the
// others.
func (d *Database) Results(ctx context.Context, log events.LogID, batch string) (events.Results, error) {
	t := d.tables.Load().all[log.Table]
	if t == nil {
		return events.Results{}, fmt.Errorf("table %s: %w", log.Table, errNoReplica)
	}
	s := t.shard(log.Shard)
	if s == nil || s.log != log {
		return events.Results{}, fmt.Errorf("log %s: %w", log, errNoReplica)
	}
	return d.results(ctx, s, batch)
}

var errNoReplica = errors.New("no replica can be asked")

// results asks the replicas of a shard, the next one when one fails or takes
// longer than cfg.Hedge. events.ErrNotFound: at least one could be asked, and
// none of them knows the batch.
func (d *Database) results(ctx context.Context, s *shard, batch string) (events.Results, error) {
	type answered struct {
		results events.Results
		err     error
	}
	ctx, stop := context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer stop()
	order := s.answering()
	answers := make(chan answered, len(order))
	open := 0
	ask := func() {
		if len(order) == 0 {
			return
		}
		r := order[0]
		order, open = order[1:], open+1
		asking.Go(func() {
			results, err := d.resultsOf(ctx, s, r, batch)
			answers <- answered{results, err}
		})
	}
	late := time.NewTicker(d.cfg.Hedge)
	defer late.Stop()
	failed := errNoReplica
	for ask(); open > 0; {
		select {
		case <-late.C:
			ask()
			continue
		case a := <-answers:
			open--
			switch {
			case a.err == nil:
				return a.results, nil
			case ctx.Err() != nil:
				return events.Results{}, a.err
			case errors.Is(a.err, events.ErrNotFound):
				failed = a.err
			case !errors.Is(failed, events.ErrNotFound):
				failed = fmt.Errorf("%w: %w", errNoReplica, a.err)
			}
			ask()
		}
	}
	return events.Results{}, fmt.Errorf("batch %s of shard %s: %w", batch, s.ID, failed)
}

func (d *Database) resultsOf(ctx context.Context, s *shard, r *replica, batch string) (events.Results, error) {
	uri := events.ShardPath(s.log.Table, s.ID, "ops/"+url.PathEscape(batch)) + "?log=" + url.QueryEscape(s.log.Incarnation)
	reply, err := r.peer.ask(ctx, "GET", uri, nil)
	if err != nil {
		return events.Results{}, err
	}
	defer reply.Close()
	if reply.code == fasthttp.StatusNotFound {
		_, err := reply.all(maxRefusal)
		return events.Results{}, errors.Join(events.ErrNotFound, err)
	}
	if reply.code != fasthttp.StatusOK {
		return events.Results{}, reply.statusError()
	}
	body, err := reply.all(maxResults)
	if err != nil {
		return events.Results{}, err
	}
	results, err := events.DecodeResults(body)
	if err == nil && results.Batch != batch {
		err = fmt.Errorf("server %s tells of batch %s", r.server, results.Batch)
	}
	return results, err
}

// showOp answers /v1/ops/<id>.
func (d *Database) showOp(ctx *fasthttp.RequestCtx, id string) error {
	s, batch, i, err := d.parseOp(id)
	if err != nil {
		return err
	}
	whole, cancel := d.bounded(d.cfg.Read)
	defer cancel()
	results, err := d.results(whole, s, batch)
	var open time.Duration // how long it may be on its way still
	if errors.Is(err, events.ErrNotFound) {
		open = d.mayCome(batch) // before the barrier
		results, err = d.resultsBeyond(whole, s, batch)
	}
	switch {
	case errors.Is(err, events.ErrNotFound) && open > 0:
		return events.StatusErrorf(503, "op %.200s is not known yet: its router may still be sending it; ask again, for %s at most", id, (open + time.Second - 1).Truncate(time.Second))
	case errors.Is(err, events.ErrNotFound), err == nil && i >= results.Ops:
		return events.StatusErrorf(404, "op %.200s is not known: it was never applied, or more than %s ago", id, events.ResultsKept)
	case err != nil:
		return events.StatusErrorf(503, "op %.200s: %s", id, err)
	}
	r := results.Op(i)
	answer.Value(ctx, struct {
		Op      string         `json:"op"`
		Outcome events.Outcome `json:"outcome"`
		Keys    []int64        `json:"keys,omitempty"`
		Count   int            `json:"count,omitempty"`
		Of      string         `json:"of,omitempty"`
		Detail  string         `json:"detail,omitempty"`
		Seq     uint64         `json:"seq"`
		Status  string         `json:"status"`
	}{id, r.Outcome, r.Keys, r.Count, r.Of, r.Detail, results.Seq, answer.Success})
	return nil
}

// mayCome is how long a batch may still come into the log behind a barrier, at
// most. One of this router cannot: both go one way, one after the other.
func (d *Database) mayCome(batch string) time.Duration {
	if d.writer.Owns(batch) {
		return 0
	}
	now := time.Now()
	return d.cfg.UnknownFor - now.Sub(d.unknownOps.firstAsked(batch, now))
}

// resultsBeyond asks again a replica that has applied all that is in the log
// by now.
func (d *Database) resultsBeyond(ctx context.Context, s *shard, batch string) (events.Results, error) {
	barrier, err := d.barrier(ctx, s)
	if err != nil {
		return events.Results{}, err
	}
	failed := errNoReplica
	for _, r := range s.answering() {
		if err := d.seen(ctx, s, r, barrier); err != nil {
			failed = err
			continue
		}
		return d.resultsOf(ctx, s, r, batch)
	}
	return events.Results{}, failed
}

// parseOp reads an op id as clients have it.
func (d *Database) parseOp(id string) (*shard, string, int, error) {
	fail := func(err error) (*shard, string, int, error) { return nil, "", 0, err }
	ts := d.tables.Load()
	if len(ts.all) == 0 {
		return fail(errNoTable)
	}
	table, rest, _ := strings.Cut(id, ".")
	name, op, ok := strings.Cut(rest, ".")
	if !ok {
		return fail(events.StatusErrorf(400, "op id %.200q: want <table>.<shard>.<batch>.<number>", id))
	}
	batch, i, err := events.ParseOpID(op)
	if err != nil {
		return fail(err)
	}
	t := ts.all[table]
	if t == nil || t.shard(name) == nil {
		return fail(events.StatusErrorf(404, "op %.200q: there is no such table or shard", id))
	}
	return t.shard(name), batch, i, nil
}

// shardURI is the native API's path of one thing of a shard, for a read that
// has to see a minimum seq.
func shardURI(s *shard, thing string, minSeq uint64) string {
	return events.ShardPath(s.log.Table, s.ID, thing) + "?log=" + url.QueryEscape(s.log.Incarnation) + "&floor=" + strconv.FormatUint(minSeq, 10)
}
