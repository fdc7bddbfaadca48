package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// rowsToRead are in both systems before anything is measured.
const rowsToRead = 100_000

// reads compares single-row reads of random keys, then streams all rows.
func reads(ctx context.Context, o options) error {
	p := pace{clients: []int{1, 16, 256, 64}, rounds: 5, warm: time.Second, measure: 3 * time.Second}
	if o.quick {
		p = pace{clients: []int{64}, rounds: 3, warm: time.Second, measure: 2 * time.Second}
	}
	d := ours(rowsToRead / 4)
	both, err := open(ctx, o, d)
	if err != nil {
		return err
	}
	defer both.close()
	if err := both.fill(ctx, d); err != nil {
		return err
	}
	key := func() (int64, bool) { return rand.Int64N(rowsToRead), true }
	peer := &side{name: "mariadb", keys: key, begin: both.peer.readers}
	ringway := &side{name: "ringway", keys: key, begin: func(_ context.Context, n int) ([]worker, func(), error) {
		workers, release := both.cluster.httpWorkers(n, "/read", readBody, oneRow)
		return workers, release, nil
	}}
	ratio, err := duel(ctx, p, peer, ringway)
	if err != nil {
		return err
	}
	if err := both.cluster.longRange(ctx); err != nil {
		return err
	}
	fmt.Printf("ringway/mariadb at %d clients: %.2f\n", p.clients[len(p.clients)-1], ratio)
	return nil
}

// fill writes every key into both, a thousand a request, all shards at once.
func (p *pair) fill(ctx context.Context, d database) error {
	failed := make([]error, d.shards)
	var all sync.WaitGroup
	for i := range d.shards {
		all.Go(func() { failed[i] = p.fillRange(ctx, int64(i)*d.size, int64(i+1)*d.size) })
	}
	all.Wait()
	return errors.Join(failed...)
}

func (p *pair) fillRange(ctx context.Context, from, to int64) error {
	for low := from; low < to; low += 1000 {
		keys := make([]int64, 1000)
		body := []byte(`{"data":[`)
		for i := range keys {
			keys[i] = low + int64(i)
			if i > 0 {
				body = append(body, ',')
			}
			body = appendRow(body, keys[i])
		}
		if err := p.peer.fill(ctx, keys); err != nil {
			return err
		}
		answer, err := p.cluster.call(ctx, http.MethodPost, "/write", string(append(body, "]}"...)))
		if err != nil {
			return err
		}
		if err := answer.Close(); err != nil {
			return err
		}
	}
	return nil
}

// longRange streams all rows and watches the router's memory meanwhile.
func (c *cluster) longRange(ctx context.Context) error {
	before, err := c.routerMemory(ctx)
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	most := before
	var watch sync.WaitGroup
	watch.Go(func() {
		for watching.Err() == nil {
			if now, err := c.routerMemory(watching); err == nil {
				most = max(most, now)
			}
			select {
			case <-watching.Done():
			case <-time.After(20 * time.Millisecond): // the pace of looking
			}
		}
	})
	began := time.Now()
	rows, err := c.countRange(ctx, 0, rowsToRead-1)
	took := time.Since(began)
	stop()
	watch.Wait()
	if err != nil {
		return err
	}
	if rows != rowsToRead {
		return fmt.Errorf("a range of %d rows gave %d", rowsToRead, rows)
	}
	fmt.Printf("a range of %d rows: %s; the router's memory grew from %.0f to %.0f MiB\n", rows, took.Round(time.Millisecond), before/(1<<20), most/(1<<20))
	return nil
}

// routerMemory is what the router's process has resident.
func (c *cluster) routerMemory(ctx context.Context) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.admin+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		if text, ok := strings.CutPrefix(s.Text(), "process_resident_memory_bytes "); ok {
			return strconv.ParseFloat(text, 64)
		}
	}
	return 0, fmt.Errorf("%s/metrics does not tell the memory", c.admin)
}
