package shard

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
	"ringway/events/strictjson"
	"ringway/shard/replica"
)

// assignmentAPI serves the API of the assignment, whose calls name no table and no
// log.
type assignmentAPI struct{ *Server }

// serve answers one of them.
func (s assignmentAPI) serve(ctx *fasthttp.RequestCtx, path string) {
	call := string(ctx.Method()) + " " + path
	var err error
	switch call {
	case "POST /config":
		err = s.config(ctx)
	case "GET /copy":
		err = s.copy(ctx)
	case "POST /read", "GET /read":
		err = s.read(ctx)
	case "POST /write":
		err = s.write(ctx)
	case "PUT /update":
		err = s.update(ctx)
	case "DELETE /del":
		err = s.remove(ctx)
	default:
		err = events.StatusErrorf(http.StatusNotFound, "%s '%.80s' endpoint does not exist in shard servers", ctx.Method(), path)
	}
	if err != nil {
		assignmentFail(ctx, err)
	}
}

// config confirms the shards that the server keeps already, and refuses others: the
// controller places shards.
func (s assignmentAPI) config(ctx *fasthttp.RequestCtx) error {
	var ask struct {
		Schema *events.Schema `json:"schema"`
		Shards []string       `json:"shards"`
	}
	if err := strictjson.Decode(ctx.PostBody(), &ask); err != nil {
		return err
	}
	if ask.Schema == nil {
		return events.StatusErrorf(http.StatusBadRequest, "schema: missing")
	}
	if err := ask.Schema.Validate(); err != nil {
		return err
	}
	if err := listed(ask.Shards); err != nil {
		return err
	}
	var kept []string
	for _, id := range ask.Shards {
		m := s.byShard(id)
		if m == nil {
			return events.StatusErrorf(http.StatusConflict, "shard %.60s is not placed on %s; the controller places shards", id, s.cfg.ID)
		}
		if target := m.Target(); !target.Spec.Schema.Equal(ask.Schema) {
			return events.StatusErrorf(http.StatusConflict, "shard %s has another schema", id)
		}
		kept = append(kept, s.cfg.ID+":"+id)
	}
	writeJSON(ctx, http.StatusOK, map[string]string{"message": strings.Join(kept, ", ") + " configured", "status": "success"})
	return nil
}

// listed refuses what is no list of different shards.
func listed(ids []string) error {
	if len(ids) == 0 {
		return events.StatusErrorf(http.StatusBadRequest, "shards: missing")
	}
	for i, id := range ids {
		if slices.Contains(ids[:i], id) {
			return events.StatusErrorf(http.StatusBadRequest, "shards: %.60s is there twice", id)
		}
	}
	return nil
}

// byShard finds a shard by its id alone; the default table comes first.
func (s *Server) byShard(id string) *manager {
	var found *manager
	for key, m := range *s.managers.Load() {
		if key.Shard != id {
			continue
		}
		if key.Table == events.DefaultTable {
			return m
		}
		if found == nil || key.Table < found.Key.Table {
			found = m
		}
	}
	return found
}

// assignmentCall is a call about one shard, with the fields of its body.
type assignmentCall struct {
	fields strictjson.Object
	target replica.Target
	at     *replica.Running
}

// call reads the body of a call about one shard, which has some fields beside it;
// named: the key too.
func (s assignmentAPI) call(ctx *fasthttp.RequestCtx, named bool, fields ...string) (*assignmentCall, error) {
	c := &assignmentCall{}
	var err error
	if c.fields, err = strictjson.Parse(ctx.PostBody()); err != nil {
		return nil, err
	}
	var id string
	if err := c.field("shard", &id); err != nil {
		return nil, err
	}
	m := s.byShard(id)
	if m == nil {
		return nil, events.StatusErrorf(http.StatusBadRequest, "shard: %.60q is not kept on %s", id, s.cfg.ID)
	}
	if c.at, c.target, err = m.Current(); err != nil {
		return nil, err
	}
	if named {
		fields = append(fields, c.target.Spec.Schema.KeyColumn())
	}
	c.fields.Only(append(fields, "shard")...)
	return c, c.fields.Err()
}

func (c *assignmentCall) field(name string, into any) error {
	if !c.fields.Has(name) {
		return events.StatusErrorf(http.StatusBadRequest, "%s: missing", name)
	}
	if err := json.Unmarshal(c.fields.Raw(name), into); err != nil {
		return events.StatusErrorf(http.StatusBadRequest, "%s: %s", name, strictjson.Wrong(err))
	}
	return nil
}

// id is the key that a call names, as a number or as its text.
func (c *assignmentCall) id() (int64, error) {
	name := c.target.Spec.Schema.KeyColumn()
	var v rowjson.Value
	if err := c.field(name, &v); err != nil {
		return 0, err
	}
	if v.IsText() {
		n, err := strconv.ParseInt(v.Raw(), 10, 64)
		if err != nil {
			return 0, events.StatusErrorf(http.StatusBadRequest, "%s: %.40q is no 64-bit integer", name, v.Raw())
		}
		return n, nil
	}
	return integer(name, v)
}

func integer(name string, v rowjson.Value) (int64, error) {
	n, err := v.Int64()
	if err != nil {
		return 0, events.StatusErrorf(http.StatusBadRequest, "%s: %s", name, err)
	}
	return n, nil
}

func (s assignmentAPI) read(ctx *fasthttp.RequestCtx) error {
	c, err := s.call(ctx, true)
	if err != nil {
		return err
	}
	name := c.target.Spec.Schema.KeyColumn()
	bounds := c.fields.Object(name, "an object with low and high")
	bounds.Only("low", "high")
	low, high := bounds.Key("low", false), bounds.Key("high", false)
	if err := bounds.Err(); err != nil {
		return err
	}
	if low > high {
		return events.StatusErrorf(http.StatusBadRequest, "%s: low %d is greater than high %d", name, low, high)
	}
	const begin, end = `{"data":[`, "],\"status\":\"success\"}\n"
	ctx.SetContentType("application/json")
	return s.answerRange(ctx, c.at, low, high, rowsAnswer{
		head: func(to []byte, _ uint64) []byte { return to },
		row: func(to []byte, row rowjson.Row, n int) []byte {
			if n == 0 {
				to = append(to, begin...)
			} else {
				to = append(to, ',')
			}
			return c.target.Spec.Schema.AppendRow(to, row)
		},
		end: func(to []byte, _ uint64, rows int) []byte {
			if rows == 0 {
				to = append(to, begin...)
			}
			return append(to, end...)
		},
	})
}

// copy streams every row of some shards.
func (s assignmentAPI) copy(ctx *fasthttp.RequestCtx) error {
	var ask struct {
		Shards []string `json:"shards"`
	}
	if err := strictjson.Decode(ctx.PostBody(), &ask); err != nil {
		return err
	}
	if err := listed(ask.Shards); err != nil {
		return err
	}
	var replicas []*replica.Running
	for _, id := range ask.Shards {
		m := s.byShard(id)
		if m == nil {
			return events.StatusErrorf(http.StatusBadRequest, "shards: %.60q is not kept on %s", id, s.cfg.ID)
		}
		at, _, err := m.Current()
		if err != nil {
			return err
		}
		replicas = append(replicas, at)
	}
	release, err := s.acquire(s.streams, "long reads")
	if err != nil {
		return err
	}
	ctx.SetContentType("application/json")
	ctx.SetBodyStreamWriter(func(w *bufio.Writer) {
		defer release()
		life, cancel := context.WithCancel(s.ctx)
		defer cancel()
		if copyRows(life, w, replicas) == nil {
			_, _ = w.WriteString(`"status":"success"}` + "\n") // without it the copy is no JSON
		}
	})
	return nil
}

func copyRows(ctx context.Context, w *bufio.Writer, replicas []*replica.Running) error {
	line := []byte{'{'}
	for _, r := range replicas {
		spec, between, before := r.Store.Spec(), "", r.Applied()
		line = append(append(append(line, '"'), spec.Shard.ID...), `":[`...)
		seq, err := r.Store.Range(ctx, spec.Shard.Low, spec.Shard.High(), func(row rowjson.Row, _ uint64) error {
			line = spec.Schema.AppendRow(append(line, between...), row)
			_, err := w.Write(line)
			line, between = line[:0], ","
			return err
		})
		if err == nil {
			err = r.RefuseRolledBack(before, seq)
		}
		if err != nil {
			return err
		}
		line = append(line, "],"...)
	}
	_, err := w.Write(line)
	return err
}

func (s assignmentAPI) write(ctx *fasthttp.RequestCtx) error {
	c, err := s.call(ctx, false, "curr_idx", "data")
	if err != nil {
		return err
	}
	index := int64(0)
	if c.fields.Names("curr_idx") {
		var v rowjson.Value
		if err := c.field("curr_idx", &v); err != nil {
			return err
		}
		if index, err = integer("curr_idx", v); err != nil {
			return err
		}
	}
	var objects []json.RawMessage
	if err := c.field("data", &objects); err != nil {
		return err
	}
	if len(objects) == 0 {
		return events.StatusErrorf(http.StatusBadRequest, "data: no entries")
	}
	if index > math.MaxInt64-int64(len(objects)) {
		return events.StatusErrorf(http.StatusBadRequest, "curr_idx: %d is too large", index)
	}
	op := shardlog.Op{Kind: shardlog.OpInsert}
	for i, object := range objects {
		row, err := c.target.Spec.Schema.ReadRow(object)
		if err != nil {
			return inData(i, err)
		}
		op.Rows = append(op.Rows, row)
	}
	if err := s.do(c, &op); err != nil {
		return err
	}
	writeJSON(ctx, http.StatusOK, map[string]any{"message": "Data entries added", "current_idx": index + int64(len(objects)), "status": "success"})
	return nil
}

// inData names the entry of a list that is at fault.
func inData(i int, err error) error {
	var status *events.StatusError
	if errors.As(err, &status) {
		return events.StatusErrorf(status.Code, "data[%d]: %s", i, status.Message)
	}
	return err
}

func (s assignmentAPI) update(ctx *fasthttp.RequestCtx) error {
	c, err := s.call(ctx, true, "data")
	if err != nil {
		return err
	}
	id, err := c.id()
	if err != nil {
		return err
	}
	var object json.RawMessage
	if err := c.field("data", &object); err != nil {
		return err
	}
	schema := &c.target.Spec.Schema
	row, err := schema.ReadRow(object)
	if err != nil {
		return err
	}
	if row.Key() != id {
		return events.StatusErrorf(http.StatusBadRequest, "%s: an update cannot change it from %d to %d", schema.KeyColumn(), id, row.Key())
	}
	if err := s.do(c, &shardlog.Op{Kind: shardlog.OpUpdate, Rows: []rowjson.Row{row}}); err != nil {
		return err
	}
	return assignmentDone(ctx, c, id, "Data entry for %s:%d updated")
}

func (s assignmentAPI) remove(ctx *fasthttp.RequestCtx) error {
	c, err := s.call(ctx, true)
	if err != nil {
		return err
	}
	id, err := c.id()
	if err != nil {
		return err
	}
	if err := s.do(c, &shardlog.Op{Kind: shardlog.OpDelete, Key: &id}); err != nil {
		return err
	}
	return assignmentDone(ctx, c, id, "Data entry with %s:%d removed")
}
