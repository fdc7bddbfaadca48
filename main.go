// Command ringway keeps a fleet of HTTP replicas and a sharded database running
// on one host or many, and routes to both.
package main

import (
	"context"
	"os"

	"ringway/app"
)

// version is set when a release is built.
var version = "0.1.0-dev"

func main() {
	os.Exit(app.Main(context.Background(), version, os.Args[1:]))
}
