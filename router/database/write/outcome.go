package write

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/events/oplog"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
	"ringway/router/answer"
	"ringway/router/database/api"
	"ringway/router/database/catalog"
)

// Outcomes of a part of a request beside those of events.
const (
	unknown    = "unknown"     // it may be done, now or later: ask for its op
	notWritten = "not written" // it is in no log and never will be
)

// outcome is what became of one shard's part of a request, for the client.
type outcome struct {
	Outcome string  `json:"outcome"`
	Rows    int     `json:"rows,omitempty"` // written
	Keys    []int64 `json:"keys,omitempty"` // the duplicate or missing ones, the first of them
	Count   int     `json:"count,omitempty"`
	Op      string  `json:"op,omitempty"`
	Detail  string  `json:"detail,omitempty"`

	code      int
	unwritten bool // Detail ends with oplog.NotSentText
}

// outcomeOf is the outcome of a part by its result or error.
func outcomeOf(p *part, r *oplog.Result, err error) outcome {
	var u *oplog.Unknown
	switch {
	case errors.As(err, &u):
		return outcome{Outcome: unknown, Op: opID(p.shard.Log, u.OpID), Detail: "ask GET " + PathOps + opID(p.shard.Log, u.OpID), code: http.StatusGatewayTimeout}
	case errors.Is(err, shardlog.ErrRepeatedKey):
		return outcome{Outcome: string(shardlog.Duplicate), Keys: repeatedKeys(p.op.Rows), Detail: err.Error(), code: http.StatusConflict}
	case err != nil:
		return notWrittenBecause(err)
	}
	o := outcome{Outcome: string(r.Outcome), Keys: r.Keys, Op: opID(p.shard.Log, cmp.Or(r.Of, r.OpID())), Detail: r.Detail, code: cmp.Or(codes[r.Outcome], http.StatusBadRequest)}
	if r.Count > len(r.Keys) {
		o.Count = r.Count
	}
	if r.Outcome == shardlog.Done {
		o.Rows = max(len(p.op.Rows), 1)
	}
	return o
}

// codes are the status codes of outcomes; of others it is 400.
var codes = map[shardlog.Outcome]int{
	shardlog.Done: http.StatusOK, shardlog.Duplicate: http.StatusConflict,
	shardlog.Missing: http.StatusNotFound, shardlog.Mismatch: http.StatusUnprocessableEntity,
}

// notWrittenBecause is the outcome of an op that is in no log.
func notWrittenBecause(err error) outcome {
	code, why := api.Explain(err)
	var statusErr *events.StatusError
	if !errors.As(err, &statusErr) {
		code = http.StatusServiceUnavailable // it was never sent, so it may be tried again
	}
	return outcome{Outcome: notWritten, Detail: why, code: code, unwritten: errors.Is(err, oplog.ErrNotSent)}
}

// repeatedKeys lists keys that are there more than once.
func repeatedKeys(rows []rowjson.Row) []int64 {
	seen := map[int64]int{}
	var keys []int64
	for _, row := range rows {
		if seen[row.Key()]++; seen[row.Key()] == 2 && len(keys) < shardlog.MaxListedKeys {
			keys = append(keys, row.Key())
		}
	}
	return keys
}

// severity orders codes: what is not known comes before what may be tried again,
// and that before what is wrong.
var severity = []int{
	http.StatusGatewayTimeout, http.StatusServiceUnavailable, http.StatusRequestEntityTooLarge,
	http.StatusUnprocessableEntity, http.StatusConflict, http.StatusNotFound, http.StatusBadRequest,
}

// judge is the status code and the message of a request by what became of its
// parts. The message ends with "nothing was written" if that is so for all.
func judge(t *catalog.Table, parts []part, outcomes []outcome) (int, string) {
	code := worst(outcomes)
	if code == http.StatusOK {
		return code, ""
	}
	done, unsure, unwritten := 0, false, false
	var texts []string
	for i, o := range outcomes {
		if o.code == http.StatusOK {
			done++
			continue
		}
		unsure = unsure || o.Outcome == unknown
		unwritten = unwritten || o.unwritten
		texts = append(texts, o.describe(t, &parts[i]))
	}
	message := strings.Join(texts, "; ")
	if unwritten && done == 0 && !unsure {
		message += oplog.NotSentText
	}
	if len(parts) > 1 {
		message = fmt.Sprintf("%d of %d shards written: %s", done, len(parts), message)
	}
	return code, message
}

// worst is the gravest status code of some outcomes.
func worst(outcomes []outcome) int {
	for _, code := range severity {
		if slices.ContainsFunc(outcomes, func(o outcome) bool { return o.code == code }) {
			return code
		}
	}
	return http.StatusOK
}

// describe is what became of a part that is not done, without that nothing was
// written.
func (o *outcome) describe(t *catalog.Table, p *part) string {
	name := t.Schema().KeyColumn()
	switch shardlog.Outcome(o.Outcome) {
	case shardlog.Duplicate:
		return fmt.Sprintf("%s: %s in shard %s already; none of its rows was written", name, keyList(o.Keys, o.Count), p.shard.ID)
	case shardlog.Missing:
		return fmt.Sprintf("%s: %s not there", name, keyList(o.Keys, o.Count))
	case shardlog.Mismatch:
		return "Idempotency-Key: it was used with another request"
	case shardlog.Invalid:
		return fmt.Sprintf("shard %s: %s", p.shard.ID, o.Detail)
	case unknown:
		return fmt.Sprintf("shard %s: the outcome is unknown; %s", p.shard.ID, o.Detail)
	}
	if o.unwritten {
		return strings.TrimSuffix(o.Detail, oplog.NotSentText)
	}
	return o.Detail
}

// keyList is "5 is" or "5, 6 and 98 more are".
func keyList(keys []int64, all int) string {
	const maxShown = 10
	shown := make([]string, 0, maxShown)
	for _, k := range keys[:min(len(keys), maxShown)] {
		shown = append(shown, strconv.FormatInt(k, 10))
	}
	list := strings.Join(shown, ", ")
	switch more := max(all, len(keys)) - len(shown); {
	case more > 0:
		return fmt.Sprintf("%s and %d more are", list, more)
	case len(shown) == 1:
		return list + " is"
	}
	return list + " are"
}

// failWrite answers with what became of each shard's part.
func failWrite(ctx *fasthttp.RequestCtx, code int, why string, shards map[string]outcome) {
	answer.Fail(ctx, code, why)
	ctx.Response.SetBody(answer.Marshal(struct {
		Message string             `json:"message"`
		Status  string             `json:"status"`
		Shards  map[string]outcome `json:"shards"`
	}{answer.Message(why), answer.Failure, shards}))
}
