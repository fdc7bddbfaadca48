package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// ErrOtherMode means that the streams of a store were made by a server that was
// alone, and would now be one of several, or the other way round.
var ErrOtherMode = errors.New("its streams would be lost")

// checkMode refuses a store of the other mode. A server that joins others deletes
// after half a minute all streams that their catalogue does not have ("orphaned"),
// and that of one that was alone is empty; one that is alone and has a copy of what
// others go on writing has another history than they.
func checkMode(cfg Config) error {
	root := filepath.Join(cfg.Store, natsserver.JetStreamStoreDir)
	catalogue, err := filepath.Glob(filepath.Join(root, "*", "_js_", "_meta_"))
	if err != nil {
		return fmt.Errorf("start bus: %w", err)
	}
	streams, err := filepath.Glob(filepath.Join(root, "*", "streams", "*"))
	if err != nil {
		return fmt.Errorf("start bus: %w", err)
	}
	switch clustered := len(catalogue) > 0; {
	case cfg.Cluster != "" && !clustered && len(streams) > 0:
		return fmt.Errorf("start bus: %w: %s holds the streams of a bus that was one server; start it without --cluster-listen, back up what it has, and restore that on an empty bus of several servers (docs/operations.md)", ErrOtherMode, cfg.Store)
	case cfg.Cluster == "" && clustered:
		return fmt.Errorf("start bus: %w: %s is of one of several bus servers; start it with the --cluster-listen, --routes and --name that it had", ErrOtherMode, cfg.Store)
	}
	return nil
}

// checkName refuses another name in a store: the others take a server for a new one
// then, and wait for the old one for ever.
func checkName(cfg Config) error {
	if cfg.Cluster == "" {
		return nil
	}
	path := filepath.Join(cfg.Store, "name")
	switch was, err := os.ReadFile(path); {
	case errors.Is(err, os.ErrNotExist):
		if err := os.WriteFile(path, []byte(cfg.Name), 0o600); err != nil {
			return fmt.Errorf("start bus: %w", err)
		}
	case err != nil:
		return fmt.Errorf("start bus: %w", err)
	case string(was) != cfg.Name:
		return fmt.Errorf("start bus: %s is the store of bus server %q, not of %q; give --name %s, or another --store", cfg.Store, was, cfg.Name, was)
	}
	return nil
}
