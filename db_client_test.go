package main

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

	"ringway/events"
	"ringway/lab/check"
)

// dbClient makes one HTTP request an operation, to any router.
type dbClient struct {
	http *http.Client
	url  func() string
}

func newDBClient(url func() string) *dbClient {
	return &dbClient{url: url, http: &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
}

func studentJSON(key int64, value string) string {
	return fmt.Sprintf(`{"Stud_id":%d,"Stud_name":"n%d","Stud_marks":%q}`, key, key, value)
}

// answer is what came of a request.
type answer struct {
	status int // 0: none
	body   string
	err    error
}

func (a answer) outcome() check.Outcome {
	var dial *net.OpError
	if errors.As(a.err, &dial) && dial.Op == "dial" {
		return check.Rejected // nobody heard it
	}
	return check.OfAnswer(a.status, a.body)
}

// ops are the ids by which the outcome of an unknown write can be asked for.
func (a answer) ops() (ids []string) {
	var body struct {
		Shards map[string]struct {
			Op string `json:"op"`
		} `json:"shards"`
	}
	if json.Unmarshal([]byte(a.body), &body) != nil {
		return nil
	}
	for _, s := range body.Shards {
		if s.Op != "" {
			ids = append(ids, s.Op)
		}
	}
	return ids
}

// ask learns later what became of a write.
func (c *dbClient) ask(op string) check.Outcome {
	var body struct {
		Outcome string `json:"outcome"`
	}
	switch a := c.do(http.MethodGet, "/v1/ops/"+op, ""); {
	case a.status == http.StatusNotFound:
		return check.Rejected
	case a.status != http.StatusOK || json.Unmarshal([]byte(a.body), &body) != nil:
		return check.Unknown
	case body.Outcome == string(events.Done):
		return check.Acknowledged
	}
	return check.Rejected
}

func (c *dbClient) do(method, path, body string, headers ...string) answer {
	req, err := http.NewRequestWithContext(context.Background(), method, c.url()+path, strings.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		return answer{err: err} // the end of the answer is missing
	}
	return answer{status: resp.StatusCode, body: b.String()}
}

func (c *dbClient) insert(rows ...check.Write) answer {
	return c.do(http.MethodPost, "/write", rowsJSON(rows))
}

// insertOnce says the same until somebody says what became of it: the key
// makes repetitions one.
func (c *dbClient) insertOnce(ctx context.Context, key string, rows ...check.Write) answer {
	open := false // a former attempt may have been taken, whatever becomes of this one
	for {
		a := c.do(http.MethodPost, "/write", rowsJSON(rows), "Idempotency-Key", key)
		// net/http itself repeats what has this header: a refused connection may
		// have been its second attempt.
		open = open || a.err != nil || a.outcome() == check.Unknown
		switch {
		case a.outcome() == check.Acknowledged, !open, a.status >= 400 && a.status < 500:
			return a
		case ctx.Err() != nil:
			return answer{err: ctx.Err()}
		}
		wait(ctx, 50*time.Millisecond)
	}
}

func rowsJSON(rows []check.Write) string {
	var b strings.Builder
	for i, w := range rows {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(studentJSON(w.Key, w.Value))
	}
	return `{"data":[` + b.String() + `]}`
}

func (c *dbClient) update(key int64, value string) answer {
	return c.do(http.MethodPut, "/update", fmt.Sprintf(`{"Stud_id":%d,"data":%s}`, key, studentJSON(key, value)))
}

type studentRow struct {
	ID    int64  `json:"Stud_id"`
	Name  string `json:"Stud_name"`
	Marks string `json:"Stud_marks"`
}

// value is what the tests wrote as a row's value; the name goes with the key.
func (r studentRow) value() string {
	if r.Name != fmt.Sprint("n", r.ID) {
		return "name " + r.Name + " " + r.Marks
	}
	return r.Marks
}

// Levels of reads.
const (
	byDefault    = ""
	linearizable = "linearizable"
)

// get reads one key at a level; "" where nothing is.
func (c *dbClient) get(key int64, level string) (string, error) {
	if os.Getenv(brokenEnv) == "level" {
		level = "eventual"
	}
	var headers []string
	if level != byDefault {
		headers = []string{"Ringway-Consistency", level}
	}
	a := c.do(http.MethodPost, "/read", fmt.Sprintf(`{"Stud_id":{"low":%d,"high":%d}}`, key, key), headers...)
	if a.err != nil {
		return "", a.err
	}
	var got struct {
		Data   []studentRow `json:"data"`
		Status string       `json:"status"`
	}
	if err := json.Unmarshal([]byte(a.body), &got); a.status != 200 || err != nil || got.Status != "success" || len(got.Data) > 1 {
		return "", fmt.Errorf("read %d: %d %s", key, a.status, a.body)
	}
	if len(got.Data) == 0 {
		return "", nil
	}
	return got.Data[0].value(), nil
}
