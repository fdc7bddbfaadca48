package runtimetest

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"ringway/agent"
	"ringway/agent/lifeline"
	"ringway/agent/process"
	"ringway/agent/sample"
)

// RunAsChild makes the test binary play the subcommands that the process
// runtime starts, and then ends the process. Call it first in TestMain.
func RunAsChild() {
	if len(os.Args) < 2 || os.Getenv(agent.EnvInstance) == "" {
		// The race detector holds every process that ends for a second.
		_ = os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
		return
	}
	line, err := lifeline.FromEnv()
	if err != nil {
		exit(1, err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	switch args := os.Args[1:]; {
	case args[0] == "server" && len(args) == 5: // server --id <name> --listen <address>
		ctx, cancel := line.Context(ctx)
		defer cancel()
		if err := sample.Run(ctx, args[2], args[4]); err != nil {
			exit(1, err)
		}
		exit(0, nil)
	case args[0] == "shard":
		ctx, cancel := line.Context(ctx)
		defer cancel()
		if err := FakeShard(ctx, args[1:]); err != nil {
			exit(1, err)
		}
		exit(0, nil)
	case args[0] == "hold": // hold [--output <path> --max-output <bytes>] -- <command>
		var out process.Output
		var argv []string
		for at := 1; at < len(args) && argv == nil; at++ {
			switch args[at] {
			case "--output":
				out.Path = args[at+1]
			case "--max-output":
				out.Max, _ = strconv.ParseInt(args[at+1], 10, 64) // our own runtime wrote it
			case "--":
				argv = args[at+1:]
			}
		}
		code, err := process.RunCommand(ctx, line, out, argv)
		exit(code, err)
	}
}

func exit(code int, err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
	}
	os.Exit(code)
}
