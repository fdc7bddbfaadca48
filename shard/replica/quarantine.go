package replica

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

// quarantine writes what a replica on another history holds to a file of dir, in
// the format of a copy, before the replica is rebuilt. That another replica agrees
// with the log does not prove that the log is right: a log that was restored from
// a backup agrees with any replica that was behind. No rule erases these files.
func quarantine(ctx context.Context, dir string, engine storage.Engine, key Key, at *events.Position) (name string, items int, err error) {
	store, err := engine.Open(ctx, key.Table, key.Shard)
	if err != nil {
		return "", 0, fmt.Errorf("set aside: %w", err)
	}
	snapshot, err := store.Snapshot(ctx)
	if err != nil {
		return "", 0, fmt.Errorf("set aside: %w", err)
	}
	defer snapshot.Close()
	name = filepath.Join(dir, fmt.Sprintf("%s.%s.%s.%d.gz", key.Table, key.Shard, at.Incarnation, at.Seq))
	items, err = writeFile(ctx, name, snapshot)
	if err != nil {
		return "", 0, fmt.Errorf("set aside in %s: %w", name, err)
	}
	return name, items, nil
}

// writeFile makes a file that is complete or not there.
func writeFile(ctx context.Context, name string, snapshot storage.Snapshot) (items int, err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return 0, err
	}
	file, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	packed := gzip.NewWriter(file)
	items, err = WriteCopy(ctx, bufio.NewWriter(packed), snapshot)
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
