package write

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/events/oplog"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
	"ringway/router/answer"
	"ringway/router/database/api"
	"ringway/router/database/catalog"
)

// part is what a request writes to one shard: one op, all or nothing.
type part struct {
	shard *catalog.Shard
	op    shardlog.Op
}

// Insert answers /write.
func (w *Writer) Insert(ctx *fasthttp.RequestCtx) error {
	if t := w.catalog.Tables().Unnamed(); t != nil {
		if rows := scanWrite(t.Schema(), string(ctx.Request.Body())); rows != nil {
			return w.insertRows(ctx, t, rows)
		}
	}
	// Slow path: it names a table, looks unusual, or something is wrong with it
	t, o, err := w.catalog.Tables().Parse(ctx.Request.Body())
	if err != nil {
		return err
	}
	if !o.Has("data") {
		return api.BadRequest("data is missing")
	}
	list, err := o.List("data")
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return api.BadRequest("data is empty")
	}
	var parts []part
	for i, raw := range list {
		row, err := t.Schema().ReadRow(raw)
		if err != nil {
			return api.Within(fmt.Sprintf("data[%d]", i), err)
		}
		if parts, err = join(t, parts, i, row); err != nil {
			return err
		}
	}
	return w.writeAll(ctx, t, parts, added(len(list)))
}

// insertRows writes rows that the schema allows.
func (w *Writer) insertRows(ctx *fasthttp.RequestCtx, t *catalog.Table, rows []rowjson.Row) (err error) {
	if len(rows) == 1 {
		if s := t.Find(rows[0].Key()); s != nil {
			return w.writeOne(ctx, t, &part{s, shardlog.Op{Kind: shardlog.OpInsert, Rows: rows}}, oneAdded)
		}
	}
	var parts []part
	for i, row := range rows {
		if parts, err = join(t, parts, i, row); err != nil {
			return err
		}
	}
	return w.writeAll(ctx, t, parts, added(len(rows)))
}

var oneAdded = added(1)

func added(rows int) []byte { return answer.DoneBody(strconv.Itoa(rows) + " Data entries added") }

// join gives row i of a request to the part of its shard.
func join(t *catalog.Table, parts []part, i int, row rowjson.Row) ([]part, error) {
	s := t.Find(row.Key())
	if s == nil {
		return nil, api.BadRequest("data[%d]: %s", i, nowhere(t, row.Key()))
	}
	j := slices.IndexFunc(parts, func(p part) bool { return p.shard == s })
	if j < 0 {
		j = len(parts)
		parts = append(parts, part{shard: s, op: shardlog.Op{Kind: shardlog.OpInsert}})
	}
	parts[j].op.Rows = append(parts[j].op.Rows, row)
	return parts, nil
}

func nowhere(t *catalog.Table, key int64) string {
	return fmt.Sprintf("%s: %d is outside of every shard", t.Schema().KeyColumn(), key)
}

// Update answers /update.
func (w *Writer) Update(ctx *fasthttp.RequestCtx) error {
	t, o, err := w.catalog.Tables().Parse(ctx.Request.Body())
	if err != nil {
		return err
	}
	schema := t.Schema()
	name := schema.KeyColumn()
	key, err := o.Key(name)
	if err != nil {
		return err
	}
	raw, ok := o["data"]
	if !ok {
		return api.BadRequest("data is missing")
	}
	row, err := schema.ReadRow(raw)
	if err != nil {
		return api.Within("data", err)
	}
	if row.Key() != key {
		return api.BadRequest("data: %s is %d: an update of %d cannot change it", name, row.Key(), key)
	}
	s := t.Find(key)
	if s == nil {
		return api.BadRequest("%s", nowhere(t, key))
	}
	return w.writeOne(ctx, t, &part{s, shardlog.Op{Kind: shardlog.OpUpdate, Rows: []rowjson.Row{row}}},
		answer.DoneBody(fmt.Sprintf("Data entry for %s: %d updated", name, key)))
}

// Delete answers /del.
func (w *Writer) Delete(ctx *fasthttp.RequestCtx) error {
	t, o, err := w.catalog.Tables().Parse(ctx.Request.Body())
	if err != nil {
		return err
	}
	name := t.Schema().KeyColumn()
	key, err := o.Key(name)
	if err != nil {
		return err
	}
	s := t.Find(key)
	if s == nil {
		return api.BadRequest("%s", nowhere(t, key))
	}
	return w.writeOne(ctx, t, &part{s, shardlog.Op{Kind: shardlog.OpDelete, Key: &key}},
		answer.DoneBody(fmt.Sprintf("Data entry with %s:%d removed from all replicas", name, key)))
}

// writeOne is writeAll of one part, as most are.
func (w *Writer) writeOne(ctx *fasthttp.RequestCtx, t *catalog.Table, p *part, done []byte) (err error) {
	if p.op.Idempotency, err = idempotency(ctx); err != nil {
		return err
	}
	if check(p, len(ctx.Request.Body())) != nil {
		return w.writeAll(ctx, t, []part{*p}, done) // says why
	}
	result, err := w.do(p)
	if err == nil && result.Outcome == shardlog.Done {
		w.ops.WithLabelValues(t.Name(), p.op.Kind, string(shardlog.Done)).Inc()
		answer.Static(ctx, done)
		return nil
	}
	// Slow path
	w.respond(ctx, t, []part{*p}, []outcome{outcomeOf(p, &result, err)}, done)
	return nil
}

// writeAll checks every part before it writes any, and answers when all
// outcomes are known or cannot be; done is the answer if all is.
func (w *Writer) writeAll(ctx *fasthttp.RequestCtx, t *catalog.Table, parts []part, done []byte) error {
	mark, err := idempotency(ctx)
	if err != nil {
		return err
	}
	refused := map[string]outcome{}
	var why error
	for i := range parts {
		p := &parts[i]
		p.op.Idempotency = mark
		if err := check(p, len(ctx.Request.Body())); err != nil {
			refused[p.shard.ID] = outcomeOf(p, nil, err)
			if why == nil {
				why = api.Within("shard "+p.shard.ID, err)
			}
		}
	}
	if why != nil {
		for _, p := range parts {
			if _, ok := refused[p.shard.ID]; !ok {
				refused[p.shard.ID] = outcome{Outcome: notWritten}
			}
		}
		code, message := api.Explain(why)
		failWrite(ctx, code, message+oplog.NotSentText, refused)
		return nil
	}
	w.respond(ctx, t, parts, w.doAll(parts), done)
	return nil
}

// respond counts outcomes and answers with them.
func (w *Writer) respond(ctx *fasthttp.RequestCtx, t *catalog.Table, parts []part, outcomes []outcome, done []byte) {
	for i, p := range parts {
		w.ops.WithLabelValues(t.Name(), p.op.Kind, outcomes[i].Outcome).Inc()
	}
	code, message := judge(t, parts, outcomes)
	if code == http.StatusOK {
		answer.Static(ctx, done)
		return
	}
	all := map[string]outcome{}
	for i, p := range parts {
		all[p.shard.ID] = outcomes[i]
	}
	failWrite(ctx, code, message, all)
}

// check refuses an op that no replica could apply, or no log store.
func check(p *part, body int) error {
	if err := p.op.Validate(p.shard.Schema, p.shard.Shard); err != nil {
		return err
	}
	if body < shardlog.MaxOpBytes/8 { // escapes make a row at most six times longer
		return nil
	}
	if n := len(p.op.Append(nil)); n > shardlog.MaxOpBytes {
		return events.StatusErrorf(http.StatusRequestEntityTooLarge, "%d bytes are too many in one request for one shard; at most %d", n, shardlog.MaxOpBytes)
	}
	return nil
}

// doAll writes the parts at the same time.
func (w *Writer) doAll(parts []part) []outcome {
	outcomes := make([]outcome, len(parts))
	do := func(i int) {
		result, err := w.do(&parts[i])
		outcomes[i] = outcomeOf(&parts[i], &result, err)
	}
	var others sync.WaitGroup
	for i := range parts[1:] {
		others.Go(func() { do(i + 1) })
	}
	do(0)
	others.Wait()
	return outcomes
}

// do writes one part.
func (w *Writer) do(p *part) (result oplog.Result, err error) {
	if w.oplog.Running() {
		result, err = w.oplog.DoFor(w.cfg.Timeout, p.shard.Log, &p.op)
	} else { // Slow path: Do waits for that
		ctx, cancel := w.group.WithTimeout(w.cfg.Timeout)
		defer cancel()
		result, err = w.oplog.Do(ctx, p.shard.Log, &p.op)
	}
	if err == nil {
		p.shard.MinSeq.Raise(result.Seq)
	}
	return result, err
}

// idempotency is what the client sent to make a repetition harmless; nil if
// it did not.
func idempotency(ctx *fasthttp.RequestCtx) (*shardlog.Idempotency, error) {
	keys := ctx.Request.Header.PeekAll("Idempotency-Key") // Peek takes an empty one for none, or not, by its place
	if len(keys) == 0 {
		return nil, nil //nolint:nilnil // most requests have none
	}
	h := sha256.New()
	h.Write(ctx.Method())
	h.Write([]byte{' '})
	h.Write(ctx.Request.Header.RequestURI())
	h.Write([]byte{'\n'})
	h.Write(ctx.Request.Body())
	mark := &shardlog.Idempotency{Key: string(keys[0]), Body: hex.EncodeToString(h.Sum(nil))}
	if err := mark.Validate(); err != nil {
		return nil, err
	}
	return mark, nil
}

// opID names an op for clients: unlike the log's, it says where to ask.
func opID(log events.LogID, op string) string { return log.Table + "." + log.Shard + "." + op }

func count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + one + "s"
}
