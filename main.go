// Command ringway keeps a fleet of HTTP replicas and a sharded database running
// on one host or many, and routes to both.
package main

import (
	"context"
	"os"

	"ringway/cli"
)

func main() {
	os.Exit(cli.Main(context.Background(), wiring(), os.Args[1:], cli.Streams{Out: os.Stdout, Err: os.Stderr}))
}
