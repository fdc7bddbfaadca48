package database_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"ringway/events"
	"ringway/events/shardapi"
	"ringway/internal/testkit"
	"ringway/router"
)

// A range of 100,000 rows of 600 bytes goes through a router that holds a
// small part of it at a time, also while its client does not read.
func TestRead_HoldsLittleOfALongAnswer(t *testing.T) {
	const each, shards = 20_000, 5
	pad := strings.Repeat("x", 600)
	made := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // shard servers whose rows are made up
		q := r.URL.Query()
		low, _ := strconv.ParseInt(q.Get("low"), 10, 64)
		high, _ := strconv.ParseInt(q.Get("high"), 10, 64)
		out := bufio.NewWriter(w)
		var row []byte
		for id := low; id <= high; id++ {
			row = append(strconv.AppendInt(append(row[:0], `{"Stud_id":`...), id, 10), `,"Stud_name":"`...)
			if _, err := out.Write(append(append(row, pad...), "\",\"Stud_marks\":1}\n"...)); err != nil {
				return
			}
		}
		_, _ = out.Write(shardapi.AppendEnd(nil, 1, int(high-low+1)))
		_ = out.Flush()
	}))
	defer made.Close()
	address, err := url.Parse(made.URL)
	testkit.Must(t, err)

	c := newCluster(t)
	var cut []events.Shard
	for i := range int64(shards) {
		cut = append(cut, events.Shard{ID: fmt.Sprintf("sh%d", i), Low: i * each, Size: each})
	}
	c.create(cut, nil)
	c.put(func(r *events.TableRoute) {
		r.Servers = []events.TableServer{{Name: "Server0", ID: 1, Address: address.Host}}
		for i := range r.Shards {
			r.Shards[i].Replicas = []events.ShardReplica{{Server: "Server0", Ready: true}}
		}
	})
	f := c.router(func(cfg *router.Config) {
		cfg.Edge.WriteTimeout, cfg.Database.Servers.Stall = testkit.Patience*4, testkit.Patience
	})

	live := func() uint64 {
		runtime.GC() // nobody reads while it runs: the answer comes to a halt
		runtime.GC() // what was made during the first one does not count
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, maxLive := live(), uint64(0)
	look := func() { maxLive = max(maxLive, live()) }
	resp, err := f.client.Post(f.url+"/read", "application/json", strings.NewReader(fmt.Sprintf(`{"Stud_id":{"low":0,"high":%d}}`, each*shards)))
	testkit.Must(t, err)
	defer resp.Body.Close()
	for range 10 { // nobody reads: what can be read ahead is
		f.do("GET", "/status", "")
		look()
	}
	n, ids := 0, int64(0)
	in := bufio.NewReaderSize(resp.Body, 64<<10)
	for {
		part, err := in.ReadSlice('}')
		n += len(part)
		if at := bytes.Index(part, []byte(`"Stud_id":`)); at >= 0 {
			want := strconv.AppendInt([]byte(`"Stud_id":`), ids, 10)
			if !bytes.HasPrefix(part[at:], want) {
				t.Fatalf("row %d is %.60s", ids, part[at:])
			}
			if ids++; ids%20_000 == 0 {
				look()
			}
		}
		if bytes.HasSuffix(part, []byte(`"status":"success"}`)) {
			break
		}
		testkit.Must(t, err)
	}
	if ids != each*shards {
		t.Errorf("%d rows, want %d", ids, each*shards)
	}
	if grown := int64(maxLive) - int64(before); grown > 32<<20 {
		t.Errorf("%d MiB are held of an answer of %d MiB", grown>>20, n>>20)
	} else {
		t.Logf("%d KiB are held of an answer of %d MiB", grown>>10, n>>20)
	}
}
