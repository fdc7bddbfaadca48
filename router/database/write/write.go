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
	t, parts, rows, err := w.parseRows(ctx.Request.Body())
	if err != nil {
		return err
	}
	return w.writeAll(ctx, t, parts, answer.DoneBody(strconv.Itoa(rows)+" Data entries added"))
}

// parseRows reads the rows of a request, and gives each to the part of its shard.
func (w *Writer) parseRows(body []byte) (t *catalog.Table, parts []part, n int, err error) {
	if t = w.catalog.Tables().Unnamed(); t != nil {
		if rows := scanWrite(t.Schema(), string(body)); rows != nil {
			for i, row := range rows {
				if parts, err = join(t, parts, i, row); err != nil {
					return nil, nil, 0, err
				}
			}
			return t, parts, len(rows), nil
		}
	}
	// Slow path: it names a table, looks unusual, or something is wrong with it
	t, o, err := w.catalog.Tables().Parse(body)
	if err != nil {
		return nil, nil, 0, err
	}
	o.Only("table", "data")
	o.Require("data")
	list := o.List("data")
	if err := o.Err(); err != nil {
		return nil, nil, 0, err
	}
	if len(list) == 0 {
		return nil, nil, 0, api.BadRequest("data is empty")
	}
	for i, raw := range list {
		row, err := t.Schema().ReadRow(raw)
		if err != nil {
			return nil, nil, 0, api.Within(fmt.Sprintf("data[%d]", i), err)
		}
		if parts, err = join(t, parts, i, row); err != nil {
			return nil, nil, 0, err
		}
	}
	return t, parts, len(list), nil
}

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
	o.Only("table", name, "data")
	key, raw := o.Key(name, true), o.Raw("data")
	if err := o.Err(); err != nil {
		return err
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
	return w.writeAll(ctx, t, []part{{s, shardlog.Op{Kind: shardlog.OpUpdate, Rows: []rowjson.Row{row}}}},
		answer.DoneBody(fmt.Sprintf("Data entry for %s: %d updated", name, key)))
}

// Delete answers /del.
func (w *Writer) Delete(ctx *fasthttp.RequestCtx) error {
	t, o, err := w.catalog.Tables().Parse(ctx.Request.Body())
	if err != nil {
		return err
	}
	name := t.Schema().KeyColumn()
	o.Only("table", name)
	key := o.Key(name, true)
	if err := o.Err(); err != nil {
		return err
	}
	s := t.Find(key)
	if s == nil {
		return api.BadRequest("%s", nowhere(t, key))
	}
	return w.writeAll(ctx, t, []part{{s, shardlog.Op{Kind: shardlog.OpDelete, Key: &key}}},
		answer.DoneBody(fmt.Sprintf("Data entry with %s:%d removed from all replicas", name, key)))
}

// writeAll checks every part before it writes any, and answers when all
// outcomes are known or cannot be; done is the answer if all is.
func (w *Writer) writeAll(ctx *fasthttp.RequestCtx, t *catalog.Table, parts []part, done []byte) error {
	mark, err := idempotency(ctx)
	if err != nil {
		return err
	}
	errs := make([]error, len(parts))
	valid := true
	for i := range parts {
		parts[i].op.Idempotency = mark
		errs[i] = check(&parts[i], len(ctx.Request.Body()))
		valid = valid && errs[i] == nil
	}
	if !valid {
		rejectAll(ctx, parts, errs)
		return nil
	}
	w.respond(ctx, t, parts, w.doAll(parts), done)
	return nil
}

// rejectAll answers a request of which some part cannot be written.
func rejectAll(ctx *fasthttp.RequestCtx, parts []part, errs []error) {
	outcomes := map[string]outcome{}
	var first error
	for i := range parts {
		id := parts[i].shard.ID
		if errs[i] == nil {
			outcomes[id] = outcome{Outcome: notWritten}
			continue
		}
		outcomes[id] = outcomeOf(&parts[i], nil, errs[i])
		if first == nil {
			first = api.Within("shard "+id, errs[i])
		}
	}
	code, message := api.Explain(first)
	failWrite(ctx, code, message+oplog.NotSentText, outcomes)
}

// respond counts outcomes and answers with them.
func (w *Writer) respond(ctx *fasthttp.RequestCtx, t *catalog.Table, parts []part, outcomes []outcome, done []byte) {
	for i, p := range parts {
		w.ops.WithLabelValues(t.Name(), p.op.Kind, outcomes[i].Outcome).Inc()
	}
	code, message := judge(t, parts, outcomes)
	if code == http.StatusOK {
		answer.JSON(ctx, http.StatusOK, done)
		return
	}
	all := map[string]outcome{}
	for i, p := range parts {
		all[p.shard.ID] = outcomes[i]
	}
	failWrite(ctx, code, message, all)
}

// check is the error of an op that no replica could apply, or no log store.
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
	keys := ctx.Request.Header.PeekAll(api.IdempotencyKey) // Peek takes an empty one for none, or not, by its place
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

// opID names an op for clients: unlike the id in the log, it has the table and the
// shard.
func opID(log events.LogID, op string) string { return log.Table + "." + log.Shard + "." + op }
