package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"ringway/lab/bench/load"
)

// reads compares single-row reads of random keys, then streams all rows.
func reads(ctx context.Context, o options) error {
	p := pace{clients: []int{1, 16, 256, 64}, rounds: 5, warm: time.Second, measure: 2500 * time.Millisecond}
	if o.quick {
		p = pace{clients: []int{64}, rounds: 3, warm: 500 * time.Millisecond, measure: 2 * time.Second}
	}
	d := ours((o.rows + 3) / 4)
	both, err := open(ctx, o, d)
	if err != nil {
		return err
	}
	defer both.close()
	began := time.Now()
	if err := both.fill(ctx, d); err != nil {
		return err
	}
	fmt.Printf("%d rows are in both after %s\n\n", d.keys(), time.Since(began).Round(100*time.Millisecond))
	key := func() (int64, bool) { return rand.Int64N(d.keys()), true }
	peer := &side{name: "mariadb", roots: []int{both.peer.pid}, keys: key, begin: load.InGoroutines(both.peer.readers)}
	scores, err := duel(ctx, p, peer, both.cluster.overHTTP(key, "/read", load.ReadBody, load.OneRow)...)
	if err != nil {
		return err
	}
	if err := both.cluster.printFound(ctx); err != nil {
		return err
	}
	if err := both.cluster.longRange(ctx, d.keys()); err != nil {
		return err
	}
	fmt.Print(verdict(p, scores))
	return nil
}

// chunk is how many rows fill writes with one request.
const chunk = 2500

// fill writes every key into both, all shards at once.
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
	for low := from; low < to; low += chunk {
		end := min(low+chunk, to)
		if err := p.peer.fill(ctx, low, end); err != nil {
			return err
		}
		body := []byte(`{"data":[`)
		for key := low; key < end; key++ {
			if key > low {
				body = append(body, ',')
			}
			body = load.AppendRow(body, key)
		}
		if err := call(ctx, http.MethodPost, p.cluster.http+"/write", string(append(body, "]}"...)), nil); err != nil {
			return err
		}
	}
	return nil
}

// longRange streams all rows and watches the router's memory meanwhile.
func (c *cluster) longRange(ctx context.Context, keys int64) error {
	before, err := c.routerMemory(ctx)
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	highest := before
	var watch sync.WaitGroup
	watch.Go(func() {
		for watching.Err() == nil {
			if now, err := c.routerMemory(watching); err == nil {
				highest = max(highest, now)
			}
			select {
			case <-watching.Done():
			case <-time.After(20 * time.Millisecond): // the pace of looking
			}
		}
	})
	began := time.Now()
	rows, err := c.countRange(ctx, 0, keys-1)
	took := time.Since(began)
	stop()
	watch.Wait()
	if err != nil {
		return err
	}
	if int64(rows) != keys {
		return fmt.Errorf("a range of %d rows gave %d", keys, rows)
	}
	fmt.Printf("a range of %d rows: %s; the router's memory grew from %.0f to %.0f MiB\n", rows, took.Round(time.Millisecond), before/(1<<20), highest/(1<<20))
	return nil
}

// routerMemory is what the router's process has resident.
func (c *cluster) routerMemory(ctx context.Context) (float64, error) {
	return metric(ctx, c.admin, "process_resident_memory_bytes")
}

// printFound prints which part of all rows that were read by key shard servers
// had in memory.
func (c *cluster) printFound(ctx context.Context) error {
	var memory, store float64
	servers, err := c.shardServers(ctx)
	if err != nil {
		return err
	}
	for _, server := range servers {
		for from, sum := range map[string]*float64{"memory": &memory, "store": &store} {
			rows, err := metric(ctx, "http://"+server, fmt.Sprintf("ringway_shard_rows_total{from=%q}", from))
			if err != nil {
				return err
			}
			*sum += rows
		}
	}
	fmt.Printf("%.1f %% of the rows that ringway read were in the memory of shard servers\n", 100*memory/(memory+store))
	return nil
}

// shardServers are their addresses.
func (c *cluster) shardServers(ctx context.Context) (all []string, err error) {
	routes, err := c.routes(ctx)
	for _, route := range routes {
		for _, shard := range route.Shards {
			for _, replica := range shard.Replicas {
				all = append(all, replica.Address)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all), err
}
