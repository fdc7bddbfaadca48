package main

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"ringway/lab/check"
)

// A new replica of a large shard is filled while writes to that shard go on.
func TestDB_AddingAReplicaDuringWrites(t *testing.T) {
	f := func(engine string, rows int) {
		t.Run(engine, func(t *testing.T) {
			d := startDatabase(t, dbOptions{engine: engine})
			set := &setWriters{client: newDBClient(func() string { return d.http })}
			const part = 2000
			for key := int64(0); key < int64(rows); key += part {
				var writes []check.Write
				for k := range int64(part) {
					writes = append(writes, check.Write{Key: key + k, Value: fmt.Sprint("first ", key+k)})
				}
				a := set.client.insert(writes...)
				if a.outcome() != check.Acknowledged {
					t.Fatalf("rows from %d: %+v", key, a)
				}
				set.note(writes, a, 0)
			}
			set.next.Store(int64(rows))
			w := newWork()
			w.each(4, set.work)
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
	f("sqlite", rounds(50_000, 1_000_000))
	f("mysql", rounds(50_000, 1_000_000))
}
