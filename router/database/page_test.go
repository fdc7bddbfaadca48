package database_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"ringway/internal/testkit"
	"ringway/router"
)

// Pages are in the order of keys, over several shards, until there is no next.
func TestRead_Pages(t *testing.T) {
	c := configured(t)
	f := c.router(nil)
	c.servers["Server1"].cutAt.Store(2) // another replica goes on
	f.fill(4090, 4100)                  // sh1 and sh2
	f.fill(9000, 9001)                  // sh3
	for _, limit := range []int{1, 3, 6, 12, 13, 14, 1 << 40} {
		var got []string
		after, pages := "", 0
		for {
			body := fmt.Sprintf(`{"Stud_id":{"low":0,"high":12287},"limit":%d%s}`, limit, after)
			answer := f.do("POST", "/read", body)
			var page struct {
				Data   []json.RawMessage
				Next   *int64
				Status string
			}
			if err := json.Unmarshal([]byte(answer.body), &page); err != nil || answer.code != 200 || page.Status != "success" || len(page.Data) > limit {
				t.Fatalf("%s: got %d %s %v", body, answer.code, answer.body, err)
			}
			pages++
			for _, row := range page.Data {
				got = append(got, string(row))
			}
			if page.Next == nil {
				break
			}
			after = fmt.Sprintf(`,"after":%d`, *page.Next)
		}
		want := strings.TrimSuffix(rows(4090, 4100), "]") + "," + strings.TrimPrefix(rows(9000, 9001), "[")
		sameJSON(t, "["+strings.Join(got, ",")+"]", want)
		if want := (13 + limit - 1) / limit; pages != want {
			t.Errorf("limit %d: %d pages, want %d", limit, pages, want)
		}
	}
	f.want("POST", "/read", `{"Stud_id":{"low":4090,"high":4100},"after":4098}`, 200,
		`{"shards_queried":["sh2"],"data":`+rows(4099, 4100)+`,"status":"success"}`)
	f.want("POST", "/read", `{"Stud_id":{"low":0,"high":12287},"limit":2,"after":4094}`, 200,
		`{"shards_queried":["sh1","sh2"],"data":`+rows(4095, 4096)+`,"next":4096,"status":"success"}`)
	f.want("POST", "/read", `{"Stud_id":{"low":0,"high":5},"limit":2,"after":9223372036854775807}`, 200, `{"shards_queried":[],"data":[],"status":"success"}`)
	f.want("POST", "/read", `{"Stud_id":{"low":0,"high":5},"limit":2,"after":5}`, 200, `{"shards_queried":[],"data":[],"status":"success"}`)
	f.want("POST", "/read", `{"Stud_id":{"low":0,"high":5},"limit":0}`, 400, failure("limit is 0; it must be at least 1"))
	f.want("POST", "/read", `{"Stud_id":{"low":0,"high":5},"limit":"2"}`, 400, failure("limit is not an integer"))
	f.want("POST", "/read", `{"Stud_id":{"low":0,"high":5},"after":1.5}`, 400, failure("after: 1.5 is no 64-bit integer"))
}

// A page ends at its size too, and loses nothing by it.
func TestRead_PagesOfLongRowsAreShorter(t *testing.T) {
	f := configured(t).router(nil)
	long := strings.Repeat("x", 60_000)
	const n = 120 // of them are more than a page holds
	for key := 4050; key < 4050+n; key += 10 {
		var all []string
		for i := key; i < key+10; i++ {
			all = append(all, fmt.Sprintf(`{"Stud_id":%d,"Stud_name":%q,"Stud_marks":1}`, i, long))
		}
		if got := f.do("POST", "/write", `{"data":[`+strings.Join(all, ",")+`]}`); got.code != 200 {
			t.Fatalf("got %d %s", got.code, got.body)
		}
	}
	seen, pages := 0, 0
	for after := int64(-1); ; pages++ {
		var page struct {
			Data []struct {
				ID int64 `json:"Stud_id"`
			}
			Next *int64
		}
		got := f.do("POST", "/read", fmt.Sprintf(`{"Stud_id":{"low":0,"high":12287},"limit":1000000,"after":%d}`, after))
		if err := json.Unmarshal([]byte(got.body), &page); err != nil || got.code != 200 || len(got.body) > 5<<20 {
			t.Fatalf("got %d, %d bytes, %v", got.code, len(got.body), err)
		}
		for _, row := range page.Data {
			if row.ID != int64(4050+seen) {
				t.Fatalf("row %d is %d", seen, row.ID)
			}
			seen++
		}
		if page.Next == nil {
			break
		}
		after = *page.Next
	}
	if seen != n || pages == 0 {
		t.Errorf("%d rows in %d pages and one", seen, pages)
	}
}

// A client that reads slowly gets all of a long answer, also of shards that wait
// for their turn: no shard server waits for it meanwhile.
func TestRead_GoesOnForASlowClient(t *testing.T) {
	c := configured(t)
	f := c.router(func(cfg *router.Config) {
		cfg.Edge.WriteTimeout = testkit.Patience
		cfg.Database.Read.Park = 10 * time.Millisecond
	})
	long := strings.Repeat("x", 60_000)
	const each = 150 // rows of two shards, more than sockets take
	for key := 0; key < each; key += 10 {
		for _, low := range []int{0, 4096} {
			var all []string
			for i := low + key; i < low+key+10; i++ {
				all = append(all, fmt.Sprintf(`{"Stud_id":%d,"Stud_name":%q,"Stud_marks":1}`, i, long))
			}
			if got := f.do("POST", "/write", `{"data":[`+strings.Join(all, ",")+`]}`); got.code != 200 {
				t.Fatalf("got %d %s", got.code, got.body)
			}
		}
	}
	resp, err := f.client.Post(f.url+"/read", "application/json", strings.NewReader(`{"Stud_id":{"low":0,"high":8191}}`))
	testkit.Must(t, err)
	defer resp.Body.Close()
	testkit.Eventually(t, func() error { // nobody reads: the second shard waits for its turn
		for _, s := range c.servers {
			if s.broken.Load() > 0 {
				return nil
			}
		}
		return errors.New("a shard server still waits for its reader")
	})
	var got struct {
		Data []struct {
			ID int64 `json:"Stud_id"`
		}
		Status string
	}
	testkit.Must(t, json.NewDecoder(resp.Body).Decode(&got))
	if len(got.Data) != 2*each || got.Status != "success" || got.Data[each].ID != 4096 || got.Data[2*each-1].ID != 4096+each-1 {
		t.Errorf("%d rows, %s", len(got.Data), got.Status)
	}
}
