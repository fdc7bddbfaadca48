// Command ringway keeps a fleet of HTTP replicas running on one host or many
// and routes to them.
package main

import (
	"context"
	"os"

	"ringway/cli"
)

// version is set when a release is built.
var version = "0.1.0-dev"

func main() {
	os.Exit(cli.Main(context.Background(), wiring(), os.Args[1:], cli.Streams{Out: os.Stdout, Err: os.Stderr}))
}
