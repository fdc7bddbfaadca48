package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"ringway/lab/bench/load"
)

// analysis is one of the course's configurations.
type analysis struct {
	name, what string
	d          database
}

// analyses are of assignment 2.
func analyses() []analysis {
	a1 := database{shards: 4, size: 4096, replicas: 3, servers: []server{
		{"Server0", []string{"sh1", "sh2"}}, {"Server1", []string{"sh3", "sh4"}}, {"Server3", []string{"sh1", "sh3"}},
		{"Server4", []string{"sh4", "sh2"}}, {"Server5", []string{"sh1", "sh4"}}, {"Server6", []string{"sh3", "sh2"}},
	}}
	return []analysis{
		{"A-1", "6 servers, 4 shards, 3 replicas", a1},
		{"A-2, 6", "7 servers, 4 shards, 6 replicas", spread(7, 4, 6, 4096)},
		{"A-2, 7", "7 servers, 4 shards, 7 replicas", spread(7, 4, 7, 4096)},
		{"A-3", "10 servers, 6 shards, 8 replicas", spread(10, 6, 8, 4096)},
	}
}

// outcome is what one analysis measured.
type outcome struct {
	analysis
	init          time.Duration
	writes, reads load.Load
}

// shards runs the analyses, each on a cluster of its own, one row a request.
func shards(ctx context.Context, o options) error {
	ops, clients := 10_000, 64
	if o.quick {
		ops = 1000
	}
	fmt.Printf("%d writes, then %d reads, by %d clients; rows counted back over the router and on every replica\n\n", ops, ops, clients)
	var all []outcome
	for _, a := range analyses() {
		found, err := analyse(ctx, o, a, ops, clients)
		if err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		fmt.Fprintf(os.Stderr, "%s done: %d rows on each of %d replicas\n", a.name, ops, a.d.replicas)
		all = append(all, found)
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(out, "analysis\tconfiguration\tinit s\twrites s\twrites/s\tp50, p99 ms\treads s\treads/s\tp50, p99 ms")
	for _, a := range all {
		fmt.Fprintf(out, "%s\t%s\t%.1f\t%.2f\t%.0f\t%s, %s\t%.2f\t%.0f\t%s, %s\n", a.name, a.what, a.init.Seconds(),
			a.writes.Spent.Seconds(), a.writes.PerSecond(), ms(a.writes.Percentile(50)), ms(a.writes.Percentile(99)),
			a.reads.Spent.Seconds(), a.reads.PerSecond(), ms(a.reads.Percentile(50)), ms(a.reads.Percentile(99)))
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if err := draw(o.plot, all, ops); err != nil {
		return fmt.Errorf("draw %s: %w", o.plot, err)
	}
	where, err := filepath.Abs(o.plot)
	if err == nil {
		fmt.Println("\nplot:", where)
	}
	return err
}

func analyse(ctx context.Context, o options, a analysis, ops, clients int) (found outcome, err error) {
	c, err := start(ctx, o, 1)
	if err != nil {
		return found, err
	}
	defer c.stop()
	found.analysis = a
	if found.init, err = c.init(ctx, a.d); err != nil {
		return found, err
	}
	keys := rand.New(rand.NewPCG(1, 1)).Perm(int(a.d.keys()))[:ops] // the same each time
	writers, err := load.HTTPClients(ctx, c.http, clients, "/write", load.WriteBody, load.OneAdded)
	if err != nil {
		return found, err
	}
	defer writers.Close()
	if found.writes, err = writers.Drive(ctx, each(keys), time.Hour); err != nil {
		return found, err
	}
	rows, err := c.countRange(ctx, 0, a.d.keys()-1)
	if err != nil {
		return found, err
	}
	copies, err := c.countServers(ctx, a.d)
	if err != nil {
		return found, err
	}
	if rows != ops || copies != ops*a.d.replicas {
		return found, fmt.Errorf("%d rows and %d copies are there, after %d writes to %d replicas", rows, copies, ops, a.d.replicas)
	}
	rand.New(rand.NewPCG(2, 2)).Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	readers, err := load.HTTPClients(ctx, c.http, clients, "/read", load.ReadBody, load.OneRow)
	if err != nil {
		return found, err
	}
	defer readers.Close()
	found.reads, err = readers.Drive(ctx, each(keys), time.Hour)
	return found, err
}

// each hands out every key once.
func each(keys []int) func() (int64, bool) {
	var next atomic.Int64
	return func() (int64, bool) {
		n := next.Add(1) - 1
		if n >= int64(len(keys)) {
			return 0, false
		}
		return int64(keys[n]), true
	}
}
