package shard

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"ringway/events"
	"ringway/internal/statedir"
	"ringway/shard/storage"
)

// quarantine writes to a file what a replica on another history holds, as a copy would send
// it, before it is rebuilt. That another replica agrees with the log does not
// prove that the log is right: one that is restored from a backup agrees with
// whoever was behind. Nobody erases these files by rule.
func (m *manager) quarantine(ctx context.Context, engine storage.Engine, at *events.Position) error {
	dir := m.s.cfg.Quarantine
	if dir == "" {
		return nil
	}
	store, err := engine.Open(ctx, m.key.table, m.key.shard)
	if err != nil {
		return fmt.Errorf("set aside: %w", err)
	}
	snapshot, err := store.Snapshot(ctx)
	if err != nil {
		return fmt.Errorf("set aside: %w", err)
	}
	defer snapshot.Close()
	name := filepath.Join(dir, fmt.Sprintf("%s.%s.%s.%d.gz", m.key.table, m.key.shard, at.Incarnation, at.Seq))
	items, err := writeQuarantined(ctx, name, snapshot)
	if err != nil {
		return fmt.Errorf("set aside in %s: %w", name, err)
	}
	m.logger.Warn("replica is set aside", "at", at.String(), "file", name, "items", items)
	return nil
}

// writeQuarantined makes a file that is whole or not there.
func writeQuarantined(ctx context.Context, name string, snapshot storage.Snapshot) (items int, err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return 0, err
	}
	file, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	packed := gzip.NewWriter(file)
	items, err = writeCopy(ctx, bufio.NewWriter(packed), snapshot)
	if err == nil {
		err = packed.Close()
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return items, err
	}
	if err := os.Rename(name+".new", name); err != nil {
		return items, err
	}
	return items, statedir.SyncDir(filepath.Dir(name)) // the replica goes next
}
