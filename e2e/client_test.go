package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"ringway/e2e/check"
	"ringway/events/shardlog"
)

// dbClient makes one HTTP request an operation on the table of the fault tests, to
// any router. Any number of goroutines may use it.
type dbClient struct {
	http *http.Client
	url  func() string
}

// newDBClient speaks to the router whose address url gives at that moment.
func newDBClient(url func() string) *dbClient {
	return &dbClient{url: url, http: &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
}

// answer is what came of a request.
type answer struct {
	Status int // 0: none
	Body   string
	Err    error
}

// outcome is the outcome of a write by its answer.
func (a answer) outcome() check.Outcome {
	var dial *net.OpError
	if errors.As(a.Err, &dial) && dial.Op == "dial" {
		return check.Rejected // nobody received it
	}
	return check.OfAnswer(a.Status, a.Body)
}

// ops are the ids by which the outcome of an unknown write can be asked for.
func (a answer) ops() (ids []string) {
	var body struct {
		Shards map[string]struct {
			Op string `json:"op"`
		} `json:"shards"`
	}
	if json.Unmarshal([]byte(a.Body), &body) != nil {
		return nil
	}
	for _, s := range body.Shards {
		if s.Op != "" {
			ids = append(ids, s.Op)
		}
	}
	return ids
}

// do makes one request; headers are names and values, alternating.
func (c *dbClient) do(method, path, body string, headers ...string) answer {
	req, err := http.NewRequestWithContext(context.Background(), method, c.url()+path, strings.NewReader(body))
	if err != nil {
		return answer{Err: err}
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{Err: err}
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		return answer{Err: err} // the end of the answer is missing
	}
	return answer{Status: resp.StatusCode, Body: b.String()}
}

// insert writes rows once.
func (c *dbClient) insert(rows ...check.Write) answer {
	return c.do(http.MethodPost, "/write", rowsJSON(rows))
}

// insertOnce repeats a write until its outcome is known, or ctx ends:
// the key makes repetitions one.
func (c *dbClient) insertOnce(ctx context.Context, key string, rows ...check.Write) answer {
	open := false // a former attempt may have been taken, whatever becomes of this one
	for {
		a := c.do(http.MethodPost, "/write", rowsJSON(rows), "Idempotency-Key", key)
		// net/http itself repeats what has this header: a refused connection may
		// have been its second attempt.
		open = open || a.Err != nil || a.outcome() == check.Unknown
		switch {
		case a.outcome() == check.Acknowledged, !open, a.Status >= 400 && a.Status < 500:
			return a
		case ctx.Err() != nil:
			return answer{Err: ctx.Err()}
		}
		wait(ctx, 50*time.Millisecond)
	}
}

// update overwrites the value of a row.
func (c *dbClient) update(key int64, value string) answer {
	return c.do(http.MethodPut, "/update", fmt.Sprintf(`{"Stud_id":%d,"data":%s}`, key, rowJSON(key, value)))
}

// ask asks for the outcome of a write.
func (c *dbClient) ask(op string) check.Outcome {
	var body struct {
		Outcome string `json:"outcome"`
	}
	switch a := c.do(http.MethodGet, "/v1/ops/"+op, ""); {
	case a.Status == http.StatusNotFound:
		return check.Rejected
	case a.Status != http.StatusOK || json.Unmarshal([]byte(a.Body), &body) != nil:
		return check.Unknown
	case body.Outcome == string(shardlog.Done):
		return check.Acknowledged
	}
	return check.Rejected
}

// Levels of reads.
const (
	byDefault    = ""
	linearizable = "linearizable"
)

func levelHeader(level string) []string {
	if os.Getenv(brokenEnv) == "level" {
		level = "eventual" // which promises nothing
	}
	if level == byDefault {
		return nil
	}
	return []string{"Ringway-Consistency", level}
}

// get reads one key at a level; "" where nothing is.
func (c *dbClient) get(key int64, level string) (string, error) {
	a := c.do(http.MethodPost, "/read", fmt.Sprintf(`{"Stud_id":{"low":%d,"high":%d}}`, key, key), levelHeader(level)...)
	if a.Err != nil {
		return "", a.Err
	}
	var got struct {
		Data   []json.RawMessage `json:"data"`
		Status string            `json:"status"`
	}
	if err := json.Unmarshal([]byte(a.Body), &got); a.Status != http.StatusOK || err != nil || got.Status != "success" || len(got.Data) > 1 {
		return "", fmt.Errorf("read %d: %d %s", key, a.Status, a.Body)
	}
	if len(got.Data) == 0 {
		return "", nil
	}
	row, err := parseRow(got.Data[0])
	return row.Value, err
}

// held is what one shard server keeps of each shard, by number, as of the ends
// of their logs.
func (c *dbClient) held(server string) (map[int]check.Replica, error) {
	a := c.do(http.MethodGet, "/read/"+server, "", "Ringway-Consistency", linearizable)
	if a.Err != nil {
		return nil, a.Err
	}
	var got map[string]json.RawMessage
	if err := json.Unmarshal([]byte(a.Body), &got); a.Status != http.StatusOK || err != nil || string(got["status"]) != `"success"` {
		return nil, errors.Join(fmt.Errorf("read of %s: %d %.200s", server, a.Status, a.Body), err)
	}
	held := map[int]check.Replica{}
	for i := range dbShards {
		name := shardName(i)
		if got[name] == nil {
			continue
		}
		var rows []json.RawMessage
		if err := json.Unmarshal(got[name], &rows); err != nil {
			return nil, fmt.Errorf("read of %s: %s: %w", server, name, err)
		}
		r := check.Replica{Name: name + " on " + server}
		for _, line := range rows {
			row, err := parseRow(line)
			if err != nil {
				return nil, fmt.Errorf("read of %s: %s: %w", server, name, err)
			}
			r.Rows = append(r.Rows, row)
		}
		held[i] = r
	}
	return held, nil
}

func rowJSON(key int64, value string) string {
	return fmt.Sprintf(`{"Stud_id":%d,"Stud_name":"n%d","Stud_marks":%q}`, key, key, value)
}

func rowsJSON(rows []check.Write) string {
	var b strings.Builder
	for i, w := range rows {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(rowJSON(w.Key, w.Value))
	}
	return `{"data":[` + b.String() + `]}`
}

// parseRow reads a row of an answer. Names were written to go with keys; one
// that does not is shown in the value, which the checkers then take for a
// value that nobody wrote.
func parseRow(line []byte) (check.Row, error) {
	var r struct {
		ID    int64  `json:"Stud_id"`
		Name  string `json:"Stud_name"`
		Marks string `json:"Stud_marks"`
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return check.Row{}, fmt.Errorf("row %.200s: %w", line, err)
	}
	if r.Name != fmt.Sprint("n", r.ID) {
		r.Marks = "name " + r.Name + " " + r.Marks
	}
	return check.Row{Key: r.ID, Value: r.Marks}, nil
}
