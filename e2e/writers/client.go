package writers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"ringway/e2e/check"
	"ringway/events/shardlog"
)

// Client makes one HTTP request an operation, to any router.
type Client struct {
	Table Table
	// Level is asked for at every read, whatever the caller wants, unless it is
	// empty: a test of tests breaks a promise by it.
	Level string

	http *http.Client
	url  func() string
}

// NewClient speaks to the router whose address url gives at that moment.
func NewClient(url func() string, table Table) *Client {
	return &Client{Table: table, url: url, http: &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
}

// Answer is what came of a request.
type Answer struct {
	Status int // 0: none
	Body   string
	Err    error
}

// Outcome is the outcome of a write by its answer.
func (a Answer) Outcome() check.Outcome {
	var dial *net.OpError
	if errors.As(a.Err, &dial) && dial.Op == "dial" {
		return check.Rejected // nobody received it
	}
	return check.OfAnswer(a.Status, a.Body)
}

// ops are the ids by which the outcome of an unknown write can be asked for.
func (a Answer) ops() (ids []string) {
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

// Do makes one request; headers are names and values, alternating.
func (c *Client) Do(method, path, body string, headers ...string) Answer {
	req, err := http.NewRequestWithContext(context.Background(), method, c.url()+path, strings.NewReader(body))
	if err != nil {
		return Answer{Err: err}
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return Answer{Err: err}
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		return Answer{Err: err} // the end of the answer is missing
	}
	return Answer{Status: resp.StatusCode, Body: b.String()}
}

// Insert writes rows once.
func (c *Client) Insert(rows ...check.Write) Answer {
	return c.Do(http.MethodPost, "/write", rowsJSON(rows))
}

// InsertOnce repeats a write until its outcome is known, or ctx ends:
// the key makes repetitions one.
func (c *Client) InsertOnce(ctx context.Context, key string, rows ...check.Write) Answer {
	open := false // a former attempt may have been taken, whatever becomes of this one
	for {
		a := c.Do(http.MethodPost, "/write", rowsJSON(rows), "Idempotency-Key", key)
		// net/http itself repeats what has this header: a refused connection may
		// have been its second attempt.
		open = open || a.Err != nil || a.Outcome() == check.Unknown
		switch {
		case a.Outcome() == check.Acknowledged, !open, a.Status >= 400 && a.Status < 500:
			return a
		case ctx.Err() != nil:
			return Answer{Err: ctx.Err()}
		}
		Wait(ctx, 50*time.Millisecond)
	}
}

// Update overwrites the value of a row.
func (c *Client) Update(key int64, value string) Answer {
	return c.Do(http.MethodPut, "/update", fmt.Sprintf(`{"Stud_id":%d,"data":%s}`, key, rowJSON(key, value)))
}

// Ask asks for the outcome of a write.
func (c *Client) Ask(op string) check.Outcome {
	var body struct {
		Outcome string `json:"outcome"`
	}
	switch a := c.Do(http.MethodGet, "/v1/ops/"+op, ""); {
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
	ByDefault    = ""
	Linearizable = "linearizable"
)

func (c *Client) headers(level string) []string {
	if c.Level != "" {
		level = c.Level
	}
	if level == ByDefault {
		return nil
	}
	return []string{"Ringway-Consistency", level}
}

// Get reads one key at a level; "" where nothing is.
func (c *Client) Get(key int64, level string) (string, error) {
	a := c.Do(http.MethodPost, "/read", fmt.Sprintf(`{"Stud_id":{"low":%d,"high":%d}}`, key, key), c.headers(level)...)
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
	row, err := ParseRow(got.Data[0])
	return row.Value, err
}

// Held is what one shard server keeps of each shard, by number, as of the ends
// of their logs.
func (c *Client) Held(server string) (map[int]check.Replica, error) {
	a := c.Do(http.MethodGet, "/read/"+server, "", "Ringway-Consistency", Linearizable)
	if a.Err != nil {
		return nil, a.Err
	}
	var got map[string]json.RawMessage
	if err := json.Unmarshal([]byte(a.Body), &got); a.Status != http.StatusOK || err != nil || string(got["status"]) != `"success"` {
		return nil, errors.Join(fmt.Errorf("read of %s: %d %.200s", server, a.Status, a.Body), err)
	}
	held := map[int]check.Replica{}
	for i := range c.Table.Shards {
		name := c.Table.Shard(i)
		if got[name] == nil {
			continue
		}
		var rows []json.RawMessage
		if err := json.Unmarshal(got[name], &rows); err != nil {
			return nil, fmt.Errorf("read of %s: %s: %w", server, name, err)
		}
		r := check.Replica{Name: name + " on " + server}
		for _, line := range rows {
			row, err := ParseRow(line)
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

// ParseRow reads a row of an answer. Names were written to go with keys; one
// that does not is shown in the value, which the checkers then take for a
// value that nobody wrote.
func ParseRow(line []byte) (check.Row, error) {
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
