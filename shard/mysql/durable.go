package mysql

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"ringway/events"
)

// flushPoll is a part of the second after which servers sync their redo log by
// themselves: each query has the server go through all its variables.
const flushPoll = 500 * time.Millisecond

// DurableThrough implements storage.Store. A commit wrote its redo log before
// the position could be read, so the position is on disk when the log is
// flushed up to what is its end after that.
func (s *Store) DurableThrough(ctx context.Context) (events.Position, error) {
	p, err := s.durable(ctx)
	if err != nil {
		return events.Position{}, fmt.Errorf("durable position of shard %s: %w", s.Spec().Shard.ID, classify(err))
	}
	return p, nil
}

func (s *Store) durable(ctx context.Context) (events.Position, error) {
	p, err := s.Position(ctx)
	if err != nil {
		return p, err
	}
	target, flushed, err := s.redoLog(ctx)
	tick := time.NewTicker(flushPoll)
	defer tick.Stop()
	for err == nil && flushed < target {
		select {
		case <-ctx.Done():
			return p, ctx.Err()
		case <-tick.C:
		}
		_, flushed, err = s.redoLog(ctx)
	}
	return p, err
}

// redoLog is the end of the redo log and how far it is synced. The names of
// the variables differ between servers; the report is the same everywhere, and
// slower.
func (s *Store) redoLog(ctx context.Context) (current, flushed uint64, err error) {
	rows, err := s.engine.db.QueryContext(ctx, "SHOW GLOBAL STATUS WHERE Variable_name IN "+
		"('Innodb_lsn_current', 'Innodb_lsn_flushed', 'Innodb_redo_log_current_lsn', 'Innodb_redo_log_flushed_to_disk_lsn')")
	if err != nil {
		return 0, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var value uint64
		if err := rows.Scan(&name, &value); err != nil {
			return 0, 0, err
		}
		switch name {
		case "Innodb_lsn_current", "Innodb_redo_log_current_lsn":
			current = value
		default:
			flushed = value
		}
	}
	if err := rows.Err(); err != nil {
		return 0, 0, err
	}
	if current != 0 && flushed != 0 {
		return current, flushed, nil
	}
	return s.redoLogReport(ctx)
}

var reportLines = regexp.MustCompile(`(?s)\nLog sequence number\s+(\d+)\n(?:.*\n)?Log flushed up to\s+(\d+)\n`)

func (s *Store) redoLogReport(ctx context.Context) (current, flushed uint64, err error) {
	var engine, name, report string
	if err := s.engine.db.QueryRowContext(ctx, "SHOW ENGINE INNODB STATUS").Scan(&engine, &name, &report); err != nil {
		return 0, 0, err
	}
	found := reportLines.FindStringSubmatch(report)
	if found == nil {
		return 0, 0, errors.New("the server's report does not tell how far its redo log is synced")
	}
	if current, err = strconv.ParseUint(found[1], 10, 64); err == nil {
		flushed, err = strconv.ParseUint(found[2], 10, 64)
	}
	return current, flushed, err
}
