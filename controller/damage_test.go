package controller_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"ringway/controller"
	"ringway/events"
	"ringway/internal/testkit"
)

// records are where the records of a bucket end, in the file that has them.
func (s *site) records(bucket string) (file string, ends []int) {
	s.t.Helper()
	blocks, err := filepath.Glob(filepath.Join(s.bus.Config.Store, "jetstream", "*", "streams", "KV_"+bucket, "msgs", "*.blk"))
	testkit.Must(s.t, err)
	if len(blocks) != 1 {
		s.t.Fatalf("%s has %d blocks", bucket, len(blocks))
	}
	text, err := os.ReadFile(blocks[0])
	testkit.Must(s.t, err)
	for at := 0; at+22 <= len(text); {
		at += int(binary.LittleEndian.Uint32(text[at:]) &^ (1 << 31))
		ends = append(ends, at)
	}
	return blocks[0], ends
}

// flip changes a bit in the body of a record.
func (s *site) flip(bucket string, record func(n int) int, unclean bool) {
	s.t.Helper()
	file, ends := s.records(bucket)
	i := record(len(ends))
	text, err := os.ReadFile(file)
	testkit.Must(s.t, err)
	text[ends[i]-12] ^= 1
	testkit.Must(s.t, os.WriteFile(file, text, 0o600))
	if unclean {
		testkit.Must(s.t, os.Remove(filepath.Join(filepath.Dir(file), "index.db")))
	}
	s.t.Logf("record %d of %d in %s", i+1, len(ends), bucket)
}

// kept is what must never be forgotten.
func (s *site) kept() string {
	s.t.Helper()
	db := s.database()
	for i := range db.Servers {
		db.Servers[i].Renewal = nil
	}
	b, err := s.conn.Bucket(s.t.Context(), events.BucketDesired)
	testkit.Must(s.t, err)
	e, err := b.Get(s.t.Context(), events.ServiceKey("web"))
	testkit.Must(s.t, err)
	svc, err := events.DecodeService(e.Value)
	testkit.Must(s.t, err)
	return fmt.Sprintf("%+v\n%+v\n%+v", db.Logs, db.Servers, svc.Replicas)
}

// Whatever record of whatever bucket is damaged when the bus was stopped or
// killed, somebody leads, no table, service or volume is forgotten, and no instance
// is stopped. RINGWAY_LONG=1 takes each record.
func TestController_ForgetsNothingWhateverRecordIsDamaged(t *testing.T) {
	t.Parallel()
	f := func(bucket, name string, record func(n int) int, unclean bool) {
		t.Run(fmt.Sprintf("%s %s unclean=%v", bucket, name, unclean), func(t *testing.T) {
			s := newSite(t)
			two := func(c *controller.Config) { c.ExpectHosts = 2 }
			stop := s.leadWith(s.conn, s.conn, "c1", 2, two)
			hosts := []*fenced{s.fencedHost("h1"), s.fencedHost("h2")}
			s.router("r1")
			s.shardServers()
			_, err := call[events.ServersReply](s, events.APIInit, events.InitRequest{ID: "i1", N: 2, Table: studT("sh1")})
			testkit.Must(t, err)
			s.serving(2)
			s.add("a1")
			s.serving(3)
			before := s.kept()
			running := func() (all []string) {
				for i, h := range hosts {
					_, names := h.applied()
					for _, n := range names {
						all = append(all, fmt.Sprintf("%s on h%d", n, i+1))
					}
				}
				slices.Sort(all)
				return all
			}
			names := running()
			s.bus.Shutdown()
			stop()
			s.flip(bucket, record, unclean)
			s.bus.Start()
			began := time.Now()
			conn := s.connect()
			s.leadWith(conn, conn, "c2", 2, two)
			s.serving(3)
			t.Logf("serving after %s", time.Since(began).Round(time.Millisecond))
			testkit.Eventually(t, func() error {
				st, err := s.status()
				if err == nil && (len(st.Tables) != 1 || len(st.Tables[0].Shards) != 1) {
					err = fmt.Errorf("tables %+v", st.Tables)
				}
				now := running()
				for _, n := range names {
					if err == nil && !slices.Contains(now, n) {
						err = fmt.Errorf("there ran %s, and now %s", names, now)
					}
				}
				return err
			})
			if after := s.kept(); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
	first, last := func(int) int { return 0 }, func(n int) int { return n - 1 }
	buckets := []string{events.BucketDesired, events.BucketDesiredCopy, events.BucketAssign, events.BucketRoutes, events.BucketLease}
	for _, bucket := range buckets {
		f(bucket, "first", first, true)
		f(bucket, "last", last, false)
	}
	if os.Getenv("RINGWAY_LONG") == "" {
		return
	}
	for _, bucket := range buckets {
		for i := range 10 {
			for _, unclean := range []bool{false, true} {
				f(bucket, fmt.Sprint(i), func(n int) int { return i % n }, unclean)
			}
		}
	}
}
