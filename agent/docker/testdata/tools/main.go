// Command tools is /bin/sh in the image of the tests, where no base image can
// be had. "sh stubborn" ignores SIGTERM, and "sh shard" stands in for a shard server.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"

	"ringway/agent/runtimetest"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "shard" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		if err := runtimetest.FakeShard(ctx, os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) == 2 && os.Args[1] == "stubborn" {
		terms := make(chan os.Signal, 1)
		signal.Notify(terms, syscall.SIGTERM)
		fmt.Println("stubborn")
		for range terms {
			fmt.Println("no")
		}
	}
	file, err := syntax.NewParser().Parse(strings.NewReader(os.Args[2]), "")
	if err == nil {
		var r *interp.Runner
		if r, err = interp.New(interp.StdIO(nil, os.Stdout, os.Stderr)); err == nil {
			err = r.Run(context.Background(), file)
		}
	}
	if status, ok := interp.IsExitStatus(err); ok {
		os.Exit(int(status))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(127)
	}
}
