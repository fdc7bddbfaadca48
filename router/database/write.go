package database

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/router/answer"
)

// part is what a request writes to one shard: one op, all or nothing.
type part struct {
	shard *shard
	op    events.Op
}

// insert answers /write.
func (d *Database) insert(ctx *fasthttp.RequestCtx) error {
	t, o, err := d.called(ctx)
	if err != nil {
		return err
	}
	if !o.has("data") {
		return events.Refuse(400, "data is missing")
	}
	list, err := o.list("data")
	if err != nil {
		return err
	}
	parts, err := t.split(list)
	if err != nil {
		return err
	}
	return d.writeAll(ctx, t, parts, strconv.Itoa(len(list))+" Data entries added")
}

// split reads rows as clients write them and gives each to its shard.
func (t *table) split(list []json.RawMessage) ([]part, error) {
	if len(list) == 0 {
		return nil, events.Refuse(400, "data is empty")
	}
	schema := &t.route.Table.Schema
	var parts []part
	for i, raw := range list {
		row, err := schema.ReadRow(raw)
		if err != nil {
			return nil, within(fmt.Sprintf("data[%d]", i), err)
		}
		s := t.find(row.Key())
		if s == nil {
			return nil, events.Refuse(400, "data[%d]: %s", i, t.nowhere(row.Key()))
		}
		j := slices.IndexFunc(parts, func(p part) bool { return p.shard == s })
		if j < 0 {
			j = len(parts)
			parts = append(parts, part{shard: s, op: events.Op{Kind: events.OpInsert}})
		}
		parts[j].op.Rows = append(parts[j].op.Rows, row)
	}
	return parts, nil
}

func (t *table) nowhere(key int64) string {
	return fmt.Sprintf("%s: %d is outside of every shard", t.route.Table.Schema.KeyColumn(), key)
}

// within says where an error is.
func within(where string, err error) error {
	var refusal *events.Refusal
	if errors.As(err, &refusal) {
		return events.Refuse(refusal.Code, "%s: %s", where, refusal.Message)
	}
	return fmt.Errorf("%s: %w", where, err)
}

// update answers /update.
func (d *Database) update(ctx *fasthttp.RequestCtx) error {
	t, o, err := d.called(ctx)
	if err != nil {
		return err
	}
	schema := &t.route.Table.Schema
	name := schema.KeyColumn()
	key, err := o.key(name)
	if err != nil {
		return err
	}
	raw, ok := o.get("data")
	if !ok {
		return events.Refuse(400, "data is missing")
	}
	row, err := schema.ReadRow(raw)
	if err != nil {
		return within("data", err)
	}
	if row.Key() != key {
		return events.Refuse(400, "data: %s is %d: an update of %d cannot change it", name, row.Key(), key)
	}
	s := t.find(key)
	if s == nil {
		return events.Refuse(400, "%s", t.nowhere(key))
	}
	return d.writeAll(ctx, t, []part{{s, events.Op{Kind: events.OpUpdate, Rows: []events.Row{row}}}},
		fmt.Sprintf("Data entry for %s: %d updated", name, key))
}

// remove answers /del.
func (d *Database) remove(ctx *fasthttp.RequestCtx) error {
	t, o, err := d.called(ctx)
	if err != nil {
		return err
	}
	name := t.route.Table.Schema.KeyColumn()
	key, err := o.key(name)
	if err != nil {
		return err
	}
	s := t.find(key)
	if s == nil {
		return events.Refuse(400, "%s", t.nowhere(key))
	}
	return d.writeAll(ctx, t, []part{{s, events.Op{Kind: events.OpDelete, Key: &key}}},
		fmt.Sprintf("Data entry with %s:%d removed from all replicas", name, key))
}

// writeAll checks every part before it writes any, and answers when all
// outcomes are known or cannot be.
func (d *Database) writeAll(ctx *fasthttp.RequestCtx, t *table, parts []part, done string) error {
	mark, err := idempotency(ctx)
	if err != nil {
		return err
	}
	refused := map[string]outcome{}
	var why error
	for i := range parts {
		p := &parts[i]
		p.op.Idempotency = mark
		if err := d.check(p, len(ctx.Request.Body())); err != nil {
			refused[p.shard.ID] = outcomeOf(p, nil, err)
			if why == nil {
				why = within("shard "+p.shard.ID, err)
			}
		}
	}
	if why != nil {
		for _, p := range parts {
			if _, ok := refused[p.shard.ID]; !ok {
				refused[p.shard.ID] = outcome{Outcome: notWritten}
			}
		}
		code, message := explain(why)
		failWrite(ctx, code, message+"; nothing was written", refused)
		return nil
	}
	outcomes := d.doAll(parts)
	for i, p := range parts {
		d.metrics.op(t.name(), p.op.Kind, outcomes[i].Outcome)
	}
	code, message := judge(t, parts, outcomes)
	if code == fasthttp.StatusOK {
		answer.Done(ctx, done)
		return nil
	}
	all := map[string]outcome{}
	for i, p := range parts {
		all[p.shard.ID] = outcomes[i]
	}
	failWrite(ctx, code, message, all)
	return nil
}

// check refuses an op that no replica could apply, or no log store.
func (d *Database) check(p *part, body int) error {
	if err := p.op.Validate(p.shard.schema, p.shard.Shard); err != nil {
		return err
	}
	if body < events.MaxOpBytes/8 { // escapes make a row at most six times longer
		return nil
	}
	if n := len(p.op.Append(nil)); n > events.MaxOpBytes {
		return events.Refuse(413, "%d bytes are too many in one request for one shard; at most %d", n, events.MaxOpBytes)
	}
	return nil
}

// doAll writes the parts at the same time.
func (d *Database) doAll(parts []part) []outcome {
	ctx, cancel := d.bounded(d.cfg.Write)
	defer cancel()
	outcomes := make([]outcome, len(parts))
	do := func(i int) {
		p := &parts[i]
		result, err := d.writer.Do(ctx, p.shard.log, &p.op)
		if err == nil {
			p.shard.floor.raise(result.Seq)
		}
		outcomes[i] = outcomeOf(p, &result, err)
	}
	var others sync.WaitGroup
	for i := range parts[1:] {
		others.Go(func() { do(i + 1) })
	}
	do(0)
	others.Wait()
	return outcomes
}

// idempotency is what the client sent to make a repetition harmless; nil if
// it did not.
func idempotency(ctx *fasthttp.RequestCtx) (*events.Idempotency, error) {
	key := ctx.Request.Header.Peek("Idempotency-Key")
	if len(key) == 0 {
		return nil, nil //nolint:nilnil // most requests have none
	}
	h := sha256.New()
	h.Write(ctx.Method())
	h.Write([]byte{' '})
	h.Write(ctx.Request.Header.RequestURI())
	h.Write([]byte{'\n'})
	h.Write(ctx.Request.Body())
	mark := &events.Idempotency{Key: string(key), Body: hex.EncodeToString(h.Sum(nil))}
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
