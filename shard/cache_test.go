package shard_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardapi"
	"ringway/events/shardlog"
)

func TestServer_CountsRowsFoundInMemory(t *testing.T) {
	c := newCluster(t, "s1")
	n := c.nodes["s1"]
	c.keep("s1*")
	n.is(events.ReplicaReady)
	c.insert(0, 3)
	counts := func(memory, store int) {
		t.Helper()
		_, text := call(t, "GET", "http://"+n.addr+"/metrics", "")
		for from, want := range map[string]int{"memory": memory, "store": store} {
			if line := fmt.Sprintf("ringway_shard_rows_total{from=%q} %d\n", from, want); !strings.Contains(text, line) {
				t.Errorf("no %q in %s", line, text)
			}
		}
	}
	get := func() {
		body := fmt.Sprintf(`[{"table":%q,"shard":%q,"log":%q,"keys":[0,1,2,7]}]`, spec.Table, spec.Shard.ID, c.log.Incarnation)
		call(t, "POST", "http://"+n.addr+shardapi.GetPath, body)
	}
	get() // 7 was never written
	counts(3, 1)
	get()
	counts(7, 1)
	n.restart(nil)
	n.is(events.ReplicaReady)
	get()
	counts(0, 4)
}

// Rows by key come from memory where they can; a range always comes from the
// store. Whatever the log does, both are the same.
func TestServer_RowsInMemoryAreThoseOfTheStore(t *testing.T) {
	const keys, steps = 12, 300
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 0))
	c := newCluster(t, "s1")
	c.keep("s1*")
	n := c.nodes["s1"]
	n.is(events.ReplicaReady)

	get := func(minSeq uint64) string {
		part := shardapi.GetPart{Table: spec.Table, Shard: spec.Shard.ID, Log: c.log.Incarnation, MinSeq: minSeq}
		for key := range int64(keys) {
			part.Keys = append(part.Keys, keys-1-key)
		}
		body, err := json.Marshal([]shardapi.GetPart{part})
		if err != nil {
			t.Fatal(err)
		}
		_, text := call(t, "POST", "http://"+n.addr+shardapi.GetPath, string(body))
		return text
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	readers.Go(func() { // what is read while something is applied must not stay
		for {
			select {
			case <-stop:
				return
			default:
				get(0)
			}
		}
	})
	var before [][]byte
	for step := range uint64(steps) {
		key := chance.Int64N(keys)
		row := rowjson.Row{rowjson.Int(key), rowjson.Text(fmt.Sprint(step))}
		batch := shardlog.Batch{ID: fmt.Sprintf("b%d", step), Writer: "w1", Table: spec.Table, Shard: spec.Shard.ID}
		switch chance.IntN(5) {
		case 0, 1:
			batch.Ops = []shardlog.Op{{Kind: shardlog.OpUpdate, Rows: []rowjson.Row{row}}}
		case 2:
			batch.Ops = []shardlog.Op{{Kind: shardlog.OpDelete, Key: &key}}
		case 3:
			batch.Ops = []shardlog.Op{
				{Kind: shardlog.OpInsert, Rows: []rowjson.Row{row}},
				{Kind: shardlog.OpUpdate, Rows: []rowjson.Row{row}, Idempotency: &shardlog.Idempotency{Key: fmt.Sprint("k", chance.IntN(40)), Body: "x"}},
			}
		case 4:
			batch.Ops = []shardlog.Op{{Kind: shardlog.OpInsert, Rows: []rowjson.Row{row, {rowjson.Int((key + 1) % keys), row[1]}}}}
		}
		body, err := json.Marshal(batch)
		if err != nil {
			t.Fatal(err)
		}
		if len(before) > 0 && chance.IntN(8) == 0 {
			body = before[chance.IntN(len(before))] // a batch that is in the log already
		}
		before = append(before, body)
		c.must2(c.conn.Append(t.Context(), c.log, fmt.Sprint("message ", step), body))
		if chance.IntN(3) > 0 {
			continue
		}
		seq := step + 1
		want := ""
		if code, text := call(t, "GET", n.url(fmt.Sprintf("rows?log=life1&floor=%d&low=0&high=%d", seq, keys-1)), ""); code == 200 {
			want = strings.TrimPrefix(text, string(shardapi.AppendSeq(nil, seq)))
		}
		if got := get(seq); got != want {
			t.Fatalf("seq %d: by key %q, as a range %q", seq, got, want)
		}
	}
	close(stop)
	readers.Wait()
}
