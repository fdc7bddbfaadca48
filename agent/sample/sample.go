// Package sample is the replica that Ringway runs when nobody gave it a
// command: it answers with its name.
//
// It answers GET /home and GET /heartbeat, and 404 to anything else. When its
// context ends it accepts no more connections and finishes the requests that
// it has begun.
package sample

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"time"

	"github.com/valyala/fasthttp"
)

// drainFor bounds how long Run waits for requests in flight; whoever stops us
// has a grace period of its own.
const drainFor = 30 * time.Second

// Run serves on address as replica id until ctx ends.
func Run(ctx context.Context, id, address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("serve as %q: %w", id, err)
	}
	return Serve(ctx, id, listener)
}

// Serve is Run on a listener, which it closes.
func Serve(ctx context.Context, id string, listener net.Listener) error {
	home, err := json.Marshal(map[string]string{"message": "Hello from Server: " + id, "status": "successful"})
	if err != nil {
		return fmt.Errorf("serve as %q: %w", id, err)
	}
	server := &fasthttp.Server{
		Handler:               func(c *fasthttp.RequestCtx) { answer(c, home) },
		NoDefaultServerHeader: true,
		ReadTimeout:           30 * time.Second, // a client that trickles its request
		IdleTimeout:           2 * time.Minute,  // longer than routers keep an idle connection
		WriteTimeout:          30 * time.Second,
		MaxRequestBodySize:    64 << 10, // no endpoint reads a body
		CloseOnShutdown:       true,
		Logger:                silent{},
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve as %q: %w", id, err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), drainFor)
	defer cancel()
	if err := server.ShutdownWithContext(grace); err != nil {
		return fmt.Errorf("drain %q: %w", id, err)
	}
	return <-served
}

func answer(c *fasthttp.RequestCtx, home []byte) {
	get := c.IsGet() || c.IsHead()
	switch {
	case get && string(c.Path()) == "/home":
		c.SetContentType("application/json")
		c.SetBody(home)
	case get && string(c.Path()) == "/heartbeat":
		c.SetStatusCode(fasthttp.StatusOK)
	default:
		c.Error("no such endpoint", fasthttp.StatusNotFound)
	}
}

// silent drops what clients can provoke by sending rubbish.
type silent struct{}

func (silent) Printf(string, ...any) {}
