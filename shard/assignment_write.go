package shard

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/events/oplog"
	"ringway/events/shardlog"
)

// do writes an op through the shard's log, as routers do, and returns
// when it can be read here.
func (s assignmentAPI) do(c *assignmentCall, op *shardlog.Op) error {
	if err := op.Validate(&c.target.Spec.Schema, c.target.Spec.Shard); err != nil {
		return err
	}
	r, err := s.writer.Do(s.ctx, c.target.LogID(), op)
	var unknown *oplog.Unknown
	if errors.As(err, &unknown) {
		return events.StatusErrorf(http.StatusGatewayTimeout, "it is not known whether this was written: op %s: %s", unknown.OpID, unknown.Cause)
	}
	if err != nil {
		return err
	}
	key := c.target.Spec.Schema.KeyColumn()
	switch r.Outcome {
	case shardlog.Done:
	case shardlog.Duplicate:
		return events.StatusErrorf(http.StatusConflict, "%s: %s there already; nothing was written", key, keys(r.Keys, r.Count))
	case shardlog.Missing:
		return events.StatusErrorf(http.StatusNotFound, "%s: %s not there", key, keys(r.Keys, r.Count))
	default:
		return events.StatusErrorf(http.StatusBadRequest, "%s: %s", r.Outcome, r.Detail)
	}
	_ = s.waitApplied(c.at, r.Seq) // it is written, whenever this replica has it
	return nil
}

// keys is "5 is" or "5, 7 and 3 more are".
func keys(some []int64, all int) string {
	texts := make([]string, len(some))
	for i, k := range some {
		texts[i] = strconv.FormatInt(k, 10)
	}
	list := strings.Join(texts, ", ")
	switch {
	case all > len(some):
		return fmt.Sprintf("%s and %d more are", list, all-len(some))
	case len(some) == 1:
		return list + " is"
	}
	return list + " are"
}

func assignmentDone(ctx *fasthttp.RequestCtx, c *assignmentCall, id int64, message string) error {
	writeJSON(ctx, http.StatusOK, map[string]string{"message": fmt.Sprintf(message, c.target.Spec.Schema.KeyColumn(), id), "status": "success"})
	return nil
}

// assignmentFail answers an error in the format of the assignment.
func assignmentFail(ctx *fasthttp.RequestCtx, err error) {
	status := statusOf(err)
	ctx.Response.Reset()
	writeJSON(ctx, status.Code, map[string]string{"message": "<Error> " + status.Message, "status": "failure"})
}
