package e2e

import (
	"net/http"
	"testing"
	"time"
)

// A new replica of a large shard is filled while writes to that shard go on.
func TestDB_AddingAReplicaDuringWrites(t *testing.T) {
	t.Parallel()
	f := func(engine string, rows int) {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			d := startDatabase(t, dbOptions{engine: engine})
			set := &setWriters{client: newDBClient(func() string { return d.http })}
			set.fill(t, rows, rows/1250) // so many messages that a copy is shorter
			w := newWork()
			w.each(4, set.work(w.ctx))
			begun := time.Now()
			code, body, err := call(http.MethodPost, d.http+"/add", `{"n":1,"new_shards":[],"servers":{"Server9":["sh1"]}}`)
			took := time.Since(begun)
			w.end()
			if err != nil || code != http.StatusOK {
				t.Fatalf("/add: %d %s %v", code, body, err)
			}
			found := d.settled()
			if n := len(found[0]); n != dbReplicas+1 {
				t.Errorf("sh1 has %d replicas", n)
			}
			report(t, set.check(t, found, nil))
			t.Logf("a replica of %d rows was filled in %s; the slowest write meanwhile took %s", rows, took.Round(time.Millisecond), set.slowest.Round(time.Millisecond))
		})
	}
	f("sqlite", rounds(20_000, 1_000_000))
	f("mysql", rounds(20_000, 1_000_000))
}
