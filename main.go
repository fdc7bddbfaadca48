// Command ringway keeps a fleet of HTTP replicas running on one host or many
// and routes to them.
package main

import (
	"context"
	"os"

	"ringway/cli"
)

func main() {
	os.Exit(cli.Main(context.Background(), wiring(), os.Args[1:], cli.Streams{Out: os.Stdout, Err: os.Stderr}))
}
