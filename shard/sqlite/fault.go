package sqlite

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"modernc.org/sqlite"

	"ringway/shard/storage"
)

// SQLite's primary codes for what may not be there the next time: busy,
// locked, out of memory, interrupted, disk full and what the disk said, no
// file to be had, locks in disorder.
var passing = []int{5, 6, 7, 9, 10, 13, 14, 15}

// isDuplicateKey reports whether a primary or a unique key was there.
func isDuplicateKey(err error) bool {
	var code *sqlite.Error
	return errors.As(err, &code) && (code.Code() == 1555 || code.Code() == 2067)
}

// classify marks what is worth another try.
func classify(err error) error {
	if err == nil || errors.Is(err, storage.ErrRetry) {
		return err
	}
	var code *sqlite.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &code):
		if !slices.Contains(passing, code.Code()&0xff) {
			return err
		}
	case errors.Is(err, sqldriver.ErrBadConn), errors.Is(err, sql.ErrConnDone), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EIO):
	default:
		return err
	}
	return fmt.Errorf("%w: %w", storage.ErrRetry, err)
}
