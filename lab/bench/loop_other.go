//go:build !linux

package main

import (
	"context"
	"errors"
)

// httpClients needs Linux.
func httpClients(context.Context, string, int, string, func([]byte, int64) []byte, string) (crew, error) {
	return nil, errors.New("the load generator needs Linux: it waits with epoll")
}
