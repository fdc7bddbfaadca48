//go:build !linux

package load

import (
	"context"
	"errors"
)

// HTTPClients needs Linux.
func HTTPClients(context.Context, string, int, string, func([]byte, int64) []byte, string) (Crew, error) {
	return nil, errors.New("the load generator needs Linux: it waits with epoll")
}
