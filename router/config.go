package router

import (
	"errors"
	"net"
	"time"

	"ringway/router/assignment"
	"ringway/router/database"
	"ringway/router/edge"
	"ringway/router/proxy"
)

// Config is what can be tuned. Start from DefaultConfig.
type Config struct {
	ID     string         // of this router, unique among those on the bus
	Public []net.Listener // clients; passed in so that a supervisor can hold the sockets over a crash. Heartbeats name the first
	Admin  net.Listener   // metrics, health, pprof; nil: none
	Cache  string         // file that keeps the last routes; empty: none

	NoLeader time.Duration // longest wait for a controller that is silent; 503 beyond, or 504 if one was asked
	Attempt  time.Duration // wait for one answer of the controller before asking again with the same id

	Edge       edge.Config
	Proxy      proxy.Config
	Assignment assignment.Config
	Database   database.Config
}

// DefaultConfig is what `ringway up` uses. Public and ID are still to be set.
func DefaultConfig() Config {
	return Config{
		NoLeader: 10 * time.Second, Attempt: 10 * time.Second,
		Edge: edge.Config{
			MaxHeader: 16 << 10, MaxBody: 10 << 20,
			ReadTimeout: 30 * time.Second, WriteTimeout: 60 * time.Second, IdleTimeout: 75 * time.Second, Stop: 30 * time.Second,
		},
		Proxy:      proxy.DefaultConfig(),
		Assignment: assignment.Config{Scale: 60 * time.Second},
		Database:   database.DefaultConfig(),
	}
}

func (c *Config) check() error {
	switch {
	case c.ID == "":
		return errors.New("id: missing; every router needs its own")
	case len(c.Public) == 0:
		return errors.New("public: no listener")
	}
	return nil
}
