package link

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"ringway/events/streams"
)

// AsServers is as many copies of a stream as the bus has servers, maxCopies at most.
const AsServers = -1

// A majority of three survives the loss of one; five would cost every append
// two more syncs.
const maxCopies = 3

const (
	streamInfoTimeout = 2 * time.Second // a stream without a leader does not answer
	maxStreamInfos    = 8               // that are asked for at the same time
)

// CreateStream makes a stream with the copies that are configured. Nobody but the
// bus knows how many servers it has (it tells clients addresses, of which a server
// may have several or none), so it is asked for most, and refuses what it cannot have.
func (c *Conn) CreateStream(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	var handle jetstream.Stream
	_, err := c.tryCopies(0, func(n int) (err error) {
		cfg.Replicas = n
		handle, err = c.JS.CreateStream(ctx, cfg)
		return err
	})
	return handle, err
}

// tryCopies calls try with what is wanted, and with less while the bus has not
// enough servers, but never with min or less. It returns what there is then.
func (c *Conn) tryCopies(min int, try func(n int) error) (int, error) {
	for n := c.wantedCopies(); n > min; n-- {
		err := try(n)
		if err == nil {
			return n, nil
		}
		if c.Config.Replicas != AsServers || n == 1 || !fewServers(err) {
			return min, err
		}
	}
	return min, nil
}

func (c *Conn) wantedCopies() int {
	switch {
	case c.Config.Replicas != AsServers:
		return max(c.Config.Replicas, 1)
	case c.NATS.ConnectedClusterName() == "":
		return 1
	}
	return maxCopies
}

// fewServers reports whether the bus refused because it has too few servers, or
// too few that are there now.
func fewServers(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == codeNoPeers || api.ErrorCode == codeNotClustered)
}

// AddCopies gives one stream more copies, if there is one that has less than is
// configured and the bus has servers for it; nil: there is none. It waits for
// nothing, and changes nothing while a copy of any stream is being filled, so
// that the bus fills one after another. It never takes a copy away.
func (c *Conn) AddCopies(ctx context.Context) (*streams.Added, error) {
	want := c.wantedCopies()
	if want == 1 {
		return nil, nil
	}
	all, err := c.Streams(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if slices.ContainsFunc(s.Behind, func(b streams.Copy) bool { return !b.Away }) {
			return nil, nil
		}
	}
	for _, s := range all {
		if s.Leader == "" || s.Copies >= want {
			continue
		}
		added, err := c.addCopies(ctx, s.Name)
		if err != nil {
			return nil, fmt.Errorf("give stream %s more copies: %w", s.Name, err)
		}
		if added != nil {
			return added, nil
		}
	}
	return nil, nil
}

func (c *Conn) addCopies(ctx context.Context, stream string) (*streams.Added, error) {
	ctx, cancel, err := c.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	handle, err := c.JS.Stream(ctx, stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, Explained(ctx, err)
	}
	cfg := handle.CachedInfo().Config
	had := cfg.Replicas
	has, err := c.tryCopies(had, func(n int) error {
		cfg.Replicas = n
		_, err := c.JS.UpdateStream(ctx, cfg)
		return err
	})
	if err != nil {
		return nil, Explained(ctx, err)
	}
	if has == had {
		return nil, nil
	}
	c.Log.Info("stream has more copies", "stream", stream, "copies", has, "before", had)
	return &streams.Added{Stream: stream, Before: had, Copies: has}, nil
}

// Streams are all streams of ours, by name. One that does not answer has no
// leader now.
func (c *Conn) Streams(ctx context.Context) ([]streams.Status, error) {
	ctx, cancel, err := c.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	names := c.JS.StreamNames(ctx)
	var all []streams.Status
	for name := range names.Name() {
		if strings.HasPrefix(name, "KV_RINGWAY_") || strings.HasPrefix(name, "RINGWAY_") {
			all = append(all, streams.Status{Name: name})
		}
	}
	if err := names.Err(); err != nil {
		return nil, fmt.Errorf("list the streams: %w", Explained(ctx, err))
	}
	slices.SortFunc(all, func(a, b streams.Status) int { return strings.Compare(a.Name, b.Name) })
	var mu sync.Mutex
	gone := map[string]bool{}
	var group errgroup.Group
	group.SetLimit(maxStreamInfos)
	for i := range all {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, streamInfoTimeout)
			defer cancel()
			handle, err := c.JS.Stream(ctx, all[i].Name)
			switch {
			case errors.Is(err, jetstream.ErrStreamNotFound):
				mu.Lock()
				defer mu.Unlock()
				gone[all[i].Name] = true
			case err == nil:
				all[i] = streamStatus(handle.CachedInfo(), c.Server())
			}
			return nil
		})
	}
	_ = group.Wait() // none returns an error
	return slices.DeleteFunc(all, func(s streams.Status) bool { return gone[s.Name] }), nil
}

// streamStatus is what a bus says of a stream; server is the one that was asked,
// which is the leader of all of them if it is alone.
func streamStatus(info *jetstream.StreamInfo, server string) streams.Status {
	s := streams.Status{Name: info.Config.Name, Copies: info.Config.Replicas, Leader: server}
	if info.Cluster == nil || info.Cluster.Name == "" {
		return s
	}
	s.Leader = info.Cluster.Leader
	for _, p := range info.Cluster.Replicas {
		if p.Offline || !p.Current {
			s.Behind = append(s.Behind, streams.Copy{Server: p.Name, Lag: p.Lag, Away: p.Offline})
		}
	}
	return s
}
