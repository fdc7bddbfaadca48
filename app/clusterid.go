package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ringway/events"
	"ringway/internal/statedir"
)

// clusterKey is of the cluster in events.BucketHosts: no host can be called that.
const clusterKey = "_cluster"

// clusterIDs are the ids that the cluster of the agent with data directory dir has had, its
// present one first. Whoever comes first makes it. It is kept on the bus and in dir, so that a bus that
// was wiped gets the same again; only an agent that has never known one waits for the bus.
func clusterIDs(ctx context.Context, h hosts, dir string, log *slog.Logger) ([]string, error) {
	path := filepath.Join(dir, "cluster-ids")
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read the ids of the cluster: %w", err)
	}
	known := strings.Fields(string(b))
	for warned := false; ; {
		id, err := clusterID(ctx, h, known)
		switch {
		case err == nil && len(known) > 0 && known[0] == id:
			return known, nil
		case err == nil:
			known = append([]string{id}, slices.DeleteFunc(known, func(k string) bool { return k == id })...)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return nil, fmt.Errorf("keep the ids of the cluster: %w", err)
			}
			if err := statedir.WriteFile(path, []byte(strings.Join(known, "\n")+"\n")); err != nil {
				return nil, fmt.Errorf("keep the ids of the cluster: %w", err)
			}
			return known, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case len(known) > 0:
			log.Warn("the bus does not tell the id of the cluster; it is taken for the one that was known last", events.KeyError, err)
			return known, nil
		case !warned:
			log.Warn("waiting for the id of the cluster", events.KeyError, err)
			warned = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// clusterID is the id on the bus, or becomes that.
func clusterID(ctx context.Context, h hosts, known []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	mine := rand.Text()
	if len(known) > 0 {
		mine = known[0]
	}
	_, err := h.Create(ctx, clusterKey, []byte(mine))
	if err == nil {
		return mine, nil
	}
	if !errors.Is(err, events.ErrConflict) {
		return "", err
	}
	entry, err := h.Get(ctx, clusterKey)
	if err != nil {
		return "", err
	}
	id := string(entry.Value)
	if events.ValidName(id) == nil {
		return id, nil
	}
	// It is damaged.
	if _, err := h.Update(ctx, clusterKey, []byte(mine), entry.Version); err != nil {
		return "", err
	}
	return mine, nil
}
