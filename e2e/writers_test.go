package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"ringway/e2e/check"
)

// fakeRouter is one before a table of one replica, which answers as do decides.
type fakeRouter struct {
	mu       sync.Mutex
	rows     map[int64]string                // lines of JSON, as they came
	keys     map[string]bool                 // of idempotency
	ops      map[string]bool                 // without an answer: were they done
	requests int                             // requests so far
	do       func(n int) (keep, answer bool) // what becomes of the n-th write: is it kept, is it answered
}

func (f *fakeRouter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, _ := io.ReadAll(r.Body) // a test's own
	switch {
	case strings.HasPrefix(r.URL.Path, "/v1/ops/"):
		if f.ops[path.Base(r.URL.Path)] {
			fmt.Fprint(w, `{"outcome":"done"}`)
		} else {
			w.WriteHeader(http.StatusNotFound)
		}
	case strings.HasPrefix(r.URL.Path, "/read/"):
		lines := map[int][]string{}
		for key, line := range f.rows {
			lines[shardOf(key)] = append(lines[shardOf(key)], line)
		}
		for i := range dbShards {
			fmt.Fprintf(w, `%c%q:[%s]`, "{,,,"[i], shardName(i), strings.Join(lines[i], ","))
		}
		fmt.Fprint(w, `,"status":"success"}`)
	case r.URL.Path == "/read":
		var q struct{ Stud_id struct{ Low int64 } }
		_ = json.Unmarshal(body, &q)
		fmt.Fprintf(w, `{"data":[%s],"status":"success"}`, f.rows[q.Stud_id.Low])
	default:
		f.write(w, r, body)
	}
}

func (f *fakeRouter) write(w http.ResponseWriter, r *http.Request, body []byte) {
	var req struct{ Data json.RawMessage }
	_ = json.Unmarshal(body, &req)
	var rows []json.RawMessage
	if r.Method == http.MethodPut {
		rows = []json.RawMessage{req.Data}
	} else {
		_ = json.Unmarshal(req.Data, &rows)
	}
	f.requests++
	keep, answer := f.do(f.requests)
	if id := r.Header.Get("Idempotency-Key"); id != "" && keep {
		keep, f.keys[id] = !f.keys[id], true
	}
	for _, row := range rows {
		if parsed, err := parseRow(row); err == nil && keep {
			f.rows[parsed.Key] = string(row)
		}
	}
	if !answer {
		w.WriteHeader(http.StatusGatewayTimeout)
		fmt.Fprintf(w, `{"shards":{"sh1":{"op":"%d"}}}`, f.requests)
		f.ops[fmt.Sprint(f.requests)] = keep
	}
}

func startFakeRouter(t *testing.T, do func(n int) (keep, answer bool)) (*fakeRouter, *dbClient) {
	t.Helper()
	f := &fakeRouter{rows: map[int64]string{}, keys: map[string]bool{}, ops: map[string]bool{}, do: do}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return f, newDBClient(func() string { return server.URL })
}

func heldByOne(t *testing.T, c *dbClient) map[int][]check.Replica {
	t.Helper()
	shards, err := c.held("Server0")
	if err != nil {
		t.Fatal(err)
	}
	found := map[int][]check.Replica{}
	for i, r := range shards {
		found[i] = append(found[i], r)
	}
	return found
}

// What a table keeps, answers or forgets is what the checkers then see.
func TestSetAndCounters(t *testing.T) {
	f := func(name string, do func(n int) (keep, answer bool), kinds ...string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, c := startFakeRouter(t, func(n int) (keep, answer bool) {
				if n <= 2 { // counters are made
					return true, true
				}
				return do(n)
			})
			set, count := &setWriters{client: c}, &counters{client: c}
			count.begin(t, 2)
			one, two := count.work(0), count.work(1)
			for i := range 120 {
				set.one(t.Context(), i%2 == 1)
				one()
				two()
			}
			found := heldByOne(t, c)
			faults := append(set.check(t, found, isCounter), count.check(t, found)...)
			for _, kind := range kinds {
				if !check.Has(faults, kind) {
					t.Errorf("no fault is called %s: %v", kind, faults)
				}
			}
			if i := slices.IndexFunc(faults, func(f check.Fault) bool { return !slices.Contains(kinds, f.Kind) }); i >= 0 {
				t.Errorf("false alarm: %s", faults[i])
			}
		})
	}
	f("all is well", func(int) (bool, bool) { return true, true })
	f("answers are lost", func(n int) (bool, bool) { return true, n%7 != 0 })
	f("writes are lost, and nothing shows it", func(n int) (bool, bool) { return n%7 != 0, n%7 != 0 })
	f("acknowledged writes are lost", func(n int) (bool, bool) { return n%10 != 0, true }, check.Lost, check.Stale)
}

// A named write is repeated until it is known, and takes effect once.
func TestInsertOnce(t *testing.T) {
	f, c := startFakeRouter(t, func(n int) (bool, bool) { return n > 1, n > 3 })
	if a := c.insertOnce(t.Context(), "id", check.Write{Key: 7, Value: "x"}); a.outcome() != check.Acknowledged || f.requests != 4 {
		t.Errorf("%+v after %d attempts", a, f.requests)
	}
	if value, err := c.get(7, linearizable); err != nil || value != "x" {
		t.Errorf("reads %q, %v", value, err)
	}
}

// The outcome of unnamed writes without an answer can be asked for.
func TestAskOpen(t *testing.T) {
	_, c := startFakeRouter(t, func(n int) (bool, bool) { return n%2 == 0, n%3 != 0 })
	set := &setWriters{client: c}
	for range 8 { // the ninth would be several rows
		set.one(t.Context(), false)
	}
	outcomes := func() (all []check.Outcome) {
		for _, w := range set.all() {
			all = append(all, w.Outcome)
		}
		return all
	}
	want := []check.Outcome{1, 1, check.Unknown, 1, 1, check.Unknown, 1, 1}
	if got := outcomes(); !slices.Equal(got, want) {
		t.Fatalf("before: %v", got)
	}
	set.askOpen(t)
	want[2], want[5] = check.Rejected, check.Acknowledged
	if got := outcomes(); !slices.Equal(got, want) {
		t.Errorf("after: %v", got)
	}
}

func TestOutcomeOfARefusedConnection(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	c := newDBClient(func() string { return server.URL })
	if a := c.insert(check.Write{Key: 7, Value: "x"}); a.outcome() != check.Rejected {
		t.Errorf("%+v: nobody received it", a)
	}
}

// A row under another name than its key's is no row that was written.
func TestParseRow(t *testing.T) {
	f := func(line string, want check.Row) {
		t.Helper()
		if got, err := parseRow([]byte(line)); err != nil || got != want {
			t.Errorf("%s: %v, %v", line, got, err)
		}
	}
	f(rowJSON(7, "x"), check.Row{Key: 7, Value: "x"})
	f(`{"Stud_id":7,"Stud_name":"n8","Stud_marks":"x"}`, check.Row{Key: 7, Value: "name n8 x"})
}
