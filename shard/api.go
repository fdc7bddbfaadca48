package shard

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"
	"golang.org/x/sync/semaphore"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardapi"
	"ringway/shard/replica"
)

// serve answers one request: the native API below shardapi.Prefix, for routers
// and other shard servers, else the assignment's.
func (s *Server) serve(ctx *fasthttp.RequestCtx) {
	path := string(ctx.Path())
	rest, native := strings.CutPrefix(path, shardapi.Prefix)
	switch {
	case native:
		s.serveShard(ctx, rest)
	case path == shardapi.GetPath && ctx.IsPost():
		s.serveGet(ctx)
	case path == "/heartbeat" && (ctx.IsGet() || ctx.IsHead()):
		// 200 and nothing: the process listens.
	case path == "/v1/status" && ctx.IsGet():
		writeJSON(ctx, http.StatusOK, s.status())
	case path == "/metrics" && ctx.IsGet():
		s.counts.serve(ctx)
	default:
		assignmentAPI{s}.serve(ctx, path)
	}
}

// serveShard answers GET <table>/shards/<shard>/<thing>.
func (s *Server) serveShard(ctx *fasthttp.RequestCtx, path string) {
	table, rest, _ := strings.Cut(path, "/")
	shards, rest, _ := strings.Cut(rest, "/")
	shard, thing, _ := strings.Cut(rest, "/")
	batch, isOp := strings.CutPrefix(thing, "ops/")
	var handle func(*fasthttp.RequestCtx, *replica.Running) error
	switch {
	case shards != "shards":
	case thing == "rows":
		handle = s.serveRows
	case thing == "copy":
		handle = s.serveCopy
	case isOp:
		handle = func(ctx *fasthttp.RequestCtx, r *replica.Running) error { return s.serveResults(ctx, r, batch) }
	}
	var err error
	switch {
	case handle == nil:
		err = events.StatusErrorf(http.StatusNotFound, "there is no %s", ctx.Path())
	case !ctx.IsGet():
		err = events.StatusErrorf(http.StatusMethodNotAllowed, "use GET")
	default:
		err = s.serveReplica(ctx, table, shard, handle)
	}
	if err != nil {
		refuse(ctx, err)
	}
}

func (s *Server) serveReplica(ctx *fasthttp.RequestCtx, table, shard string, handle func(*fasthttp.RequestCtx, *replica.Running) error) error {
	args := ctx.QueryArgs()
	minSeq, err := number(args, "floor", strconv.ParseUint, 0)
	if err != nil {
		return err
	}
	r, err := s.readable(table, shard, string(args.Peek("log")), minSeq)
	if err != nil {
		return err
	}
	return handle(ctx, r)
}

// readable is a replica that has applied minSeq.
func (s *Server) readable(table, shard, log string, minSeq uint64) (*replica.Running, error) {
	m := s.manager(table, shard)
	if m == nil {
		return nil, events.StatusErrorf(http.StatusConflict, "shard %.60s of table %.60s is not kept here", shard, table)
	}
	r, err := m.Readable(log)
	if err != nil {
		return nil, err
	}
	return r, s.waitApplied(r, minSeq)
}

// number parses a parameter; a missing one is otherwise.
func number[N any](args *fasthttp.Args, name string, parse func(string, int, int) (N, error), otherwise N) (N, error) {
	text := args.Peek(name)
	if text == nil {
		return otherwise, nil
	}
	n, err := parse(string(text), 10, 64)
	if err != nil {
		return n, events.StatusErrorf(http.StatusBadRequest, "%s: %.40q is no number", name, text)
	}
	return n, nil
}

func (s *Server) serveRows(ctx *fasthttp.RequestCtx, r *replica.Running) error {
	args := ctx.QueryArgs()
	low, err := number(args, "low", strconv.ParseInt, math.MinInt64)
	if err != nil {
		return err
	}
	high, err := number(args, "high", strconv.ParseInt, math.MaxInt64)
	if err != nil {
		return err
	}
	schema := r.Store.Spec().Schema
	format := func(to []byte, row rowjson.Row, _ int) []byte { return append(schema.AppendRow(to, row), '\n') }
	return s.answerRange(ctx, r, low, high, rowsAnswer{head: shardapi.AppendSeq, row: format, end: shardapi.AppendEnd})
}

func (s *Server) serveResults(ctx *fasthttp.RequestCtx, r *replica.Running, batch string) error {
	results, err := r.Store.Results(s.ctx, batch)
	if errors.Is(err, events.ErrNotFound) {
		return events.StatusErrorf(http.StatusNotFound, "no results of batch %.80q are here", batch)
	}
	if err == nil {
		writeJSON(ctx, http.StatusOK, results)
	}
	return err
}

// serveCopy hands out a replica as it is at one moment.
func (s *Server) serveCopy(ctx *fasthttp.RequestCtx, r *replica.Running) error {
	release, err := s.acquire(s.copies, "copies")
	if err != nil {
		return err
	}
	life, end := context.WithCancel(s.ctx)
	snapshot, err := r.Store.Snapshot(life)
	if err != nil {
		end()
		release()
		return err
	}
	ctx.SetBodyStreamWriter(func(w *bufio.Writer) {
		defer release()
		defer end()
		defer snapshot.Close()
		n, err := replica.WriteCopy(life, w, snapshot)
		if err != nil {
			s.log.Warn("copy was cut off", events.KeyTable, r.Store.Spec().Table, events.KeyShard, r.Store.Spec().Shard.ID, "lines", n, events.KeyError, err)
		}
	})
	return nil
}

// waitApplied returns when a replica has applied a seq.
func (s *Server) waitApplied(r *replica.Running, seq uint64) error {
	if r.Applied().Seq >= seq {
		return nil
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.ReadWait)
	defer cancel()
	return r.WaitApplied(ctx, seq)
}

// acquire waits until something of a limited kind may begin.
func (s *Server) acquire(sem *semaphore.Weighted, something string) (release func(), err error) {
	release = func() { sem.Release(1) }
	if sem.TryAcquire(1) {
		return release, nil
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.ReadWait)
	defer cancel()
	if sem.Acquire(ctx, 1) != nil {
		return nil, events.StatusErrorf(http.StatusServiceUnavailable, "too many %s; try another replica", something)
	}
	return release, nil
}

// Answers up to directBytes are sent with their length; a range of more than
// directKeys keys is streamed from the start.
const (
	directBytes = 64 << 10
	directKeys  = 2000
	streamBytes = 16 << 10
)

// rowsAnswer is how rows are written.
type rowsAnswer struct {
	head func(to []byte, seq uint64) []byte // if there are rows
	row  func(to []byte, row rowjson.Row, n int) []byte
	end  func(to []byte, seq uint64, rows int) []byte
}

var errLong = errors.New("a long answer")

// answerRange answers the rows of a range, streamed if they are many. A stream
// that fails in the middle lacks its last line, by which its reader notices.
func (s *Server) answerRange(ctx *fasthttp.RequestCtx, r *replica.Running, low, high int64, as rowsAnswer) error {
	if spec := r.Store.Spec(); min(high, spec.Shard.High())-max(low, spec.Shard.Low) <= directKeys {
		release, err := s.acquire(s.reads, "reads")
		if err != nil {
			return err
		}
		body, n, before := []byte(nil), 0, r.Applied()
		seq, err := r.Store.Range(s.ctx, low, high, func(row rowjson.Row, seq uint64) error {
			if n == 0 {
				body = as.head(body, seq)
			}
			if body = as.row(body, row, n); len(body) > directBytes {
				return errLong
			}
			n++
			return nil
		})
		release()
		if err == nil {
			err = r.RefuseRolledBack(before, seq)
		}
		if !errors.Is(err, errLong) {
			if err == nil {
				ctx.Response.SetBodyRaw(as.end(body, seq, n))
			}
			return err
		}
	}
	// Slow path
	release, err := s.acquire(s.streams, "long reads")
	if err != nil {
		return err
	}
	ctx.SetBodyStreamWriter(func(w *bufio.Writer) {
		defer release()
		life, cancel := context.WithCancel(s.ctx)
		defer cancel()
		var one []byte
		n, before := 0, r.Applied()
		seq, err := r.Store.Range(life, low, high, func(row rowjson.Row, seq uint64) error {
			one = one[:0]
			if n == 0 {
				if err := r.RefuseRolledBack(before, seq); err != nil {
					return err
				}
				one = as.head(one, seq)
			}
			one = as.row(one, row, n)
			n++
			_, err := w.Write(one)
			return err
		})
		if err == nil && r.RefuseRolledBack(before, seq) == nil {
			_, _ = w.Write(as.end(nil, seq, n)) // fasthttp sees the failure too
		}
	})
	return nil
}

// refuse answers an error, for programs.
func refuse(ctx *fasthttp.RequestCtx, err error) {
	status := statusOf(err)
	ctx.Response.Reset()
	writeJSON(ctx, status.Code, status)
}

func statusOf(err error) *events.StatusError {
	var status *events.StatusError
	if !errors.As(err, &status) {
		status = events.StatusErrorf(http.StatusServiceUnavailable, "%s", err)
	}
	return status
}

func writeJSON(ctx *fasthttp.RequestCtx, code int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		code, body = http.StatusInternalServerError, nil
	}
	ctx.SetStatusCode(code)
	ctx.SetContentType("application/json")
	ctx.Response.SetBodyRaw(append(body, '\n'))
}
