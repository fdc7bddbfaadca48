// Command bench measures Ringway over HTTP, as its clients do:
//
//	bench gets     GETs through its router beside HAProxy and nginx
//	bench writes   single-row writes beside one MariaDB with full durability
//	bench reads    single-row reads beside prepared reads of one MariaDB, and a long range
//	bench limit    what writes over HTTP cost at least, beside the same MariaDB
//	bench shards   the course's analyses of assignment 2
//
// It starts `ringway up` and the peers by itself, in a temporary directory, and
// counts what was written after each run: a time for writes that wrote nothing
// is worth nothing. QUICK=1 makes it short.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are those of all measurements.
type options struct {
	binary string // ringway
	dir    string // for all data; its file system decides what a sync costs
	plot   string // file for the picture
	rows   int64  // to read
	quick  bool
}

func main() {
	o := options{quick: os.Getenv("QUICK") != ""}
	flag.StringVar(&o.binary, "ringway", "../../bin/ringway", "the program to measure")
	flag.StringVar(&o.dir, "dir", os.TempDir(), "directory for data, on the file system that shall be measured")
	flag.StringVar(&o.plot, "plot", "../../bin/shards.png", "shards: file for the picture")
	flag.Int64Var(&o.rows, "rows", 100_000, "reads: rows in both systems; reads of many more than fit in 11 MiB a shard server miss its memory")
	flag.Parse()
	if flag.Arg(0) == bareVerb {
		exit(bare(flag.Arg(1)))
	}
	measures := map[string]func(context.Context, options) error{"gets": gets, "writes": writes, "reads": reads, "limit": limit, "shards": shards}
	measure := measures[flag.Arg(0)]
	if measure != nil {
		_ = flag.CommandLine.Parse(flag.Args()[1:]) // flags may follow; it exits by itself
	}
	if o.rows < 4 {
		fmt.Fprintln(os.Stderr, "bench: -rows: 4 at least, one a shard")
		os.Exit(2)
	}
	if measure == nil || flag.NArg() != 0 {
		fmt.Fprintln(os.Stderr, "bench: choose what to measure: gets, writes, reads, limit or shards")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o, measure)
	stop()
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context, o options, measure func(context.Context, options) error) error {
	dir, err := os.MkdirTemp(o.dir, "bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // temporary as it is
	o.dir = dir
	sync, err := syncTime(dir)
	if err != nil {
		return err
	}
	fmt.Printf("%s, %d CPUs, a synced write of 4 KiB takes %s, quick: %v\n", runtime.Version(), runtime.NumCPU(), sync.Round(time.Microsecond), o.quick)
	return measure(ctx, o)
}

// syncTime is the median of what the disk takes.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.CreateTemp(dir, "sync-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // nobody reads it
	block := []byte(strings.Repeat("x", 4096))
	var took []time.Duration
	for range 100 {
		began := time.Now()
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}
