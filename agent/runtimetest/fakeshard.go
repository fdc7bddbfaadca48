package runtimetest

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// lives is a file of a volume that names every shard server that had it.
const lives = "lives"

// FakeShard plays `ringway shard` until ctx ends: GET /heartbeat is empty,
// GET /lives names those that had the volume, and GET /args is how it was called.
func FakeShard(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("shard", flag.ContinueOnError)
	name := flags.String("id", "", "")
	listen := flags.String("listen", "", "")
	data := flags.String("data", "", "")
	flags.String("engine", "", "")
	flags.String("nats", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	path := filepath.Join(*data, lives)
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(file, "%s ", *name)
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/heartbeat", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/args", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Join(args, " ")) })
	mux.HandleFunc("/"+lives, func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, path) })
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(listener); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}
