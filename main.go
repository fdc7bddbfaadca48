// Command ringway keeps a fleet of HTTP replicas and a sharded database running
// on one host or many, and routes to both.
package main

import (
	"context"
	"os"
	"slices"

	"ringway/cli"
	"ringway/cli/timers"
)

// busy are the roles that work a little, very often.
var busy = []string{"bus", "router", "shard"}

func main() {
	if len(os.Args) > 1 && slices.Contains(busy, os.Args[1]) {
		timers.Coarsen()
	}
	os.Exit(cli.Main(context.Background(), wiring(), os.Args[1:], cli.Streams{Out: os.Stdout, Err: os.Stderr}))
}
