package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"time"
)

// rollbackGrace is for a server that may stand still.
const rollbackGrace = 2 * time.Second

// transaction runs statements of a store in one transaction.
type transaction struct {
	*Store
	ctx    context.Context // of the one call that this is part of
	conn   *sql.Conn
	purges time.Time // the clock at which it purges; zero: it does not
}

// inTransaction runs fn and commits, unless fn fails. It is not database/sql's:
// that one's Commit takes no context, and a server that stands still would hold an
// applier for as long as the connection lets it.
func (s *Store) inTransaction(ctx context.Context, fn func(*transaction) error) error {
	conn, release, err := s.take(ctx)
	if err != nil {
		return err
	}
	committed := false
	defer func() { // the next transaction would take a part of this along, even after a panic
		release(!committed && s.rollback(ctx, conn) != nil)
	}()
	t := &transaction{Store: s, ctx: s.dialect.running(ctx), conn: conn}
	if err = t.begin(); err == nil {
		err = fn(t)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		_, err = t.exec("COMMIT")
	}
	committed = err == nil
	if committed && !t.purges.IsZero() {
		s.mu.Lock()
		s.purged = t.purges
		s.mu.Unlock()
	}
	return err
}

// begin begins the transaction where its first statement does not.
func (t *transaction) begin() (err error) {
	if t.dialect.Begin != "" {
		_, err = t.exec(t.dialect.Begin)
	}
	return err
}

// exec calls the driver, without database/sql's conversion of each value. The
// values are of types that every driver takes: int64, string, []byte.
func (t *transaction) exec(query string, args ...any) (result driver.Result, err error) {
	named := make([]driver.NamedValue, len(args))
	for i, v := range args {
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	err = t.conn.Raw(func(c any) error {
		result, err = c.(driver.ExecerContext).ExecContext(t.ctx, query, named)
		return err
	})
	return result, err
}

// rollback ends what a connection is in the middle of, or, if it does not
// answer, the connection, which nobody then has to close.
func (s *Store) rollback(ctx context.Context, conn *sql.Conn) error {
	ctx = context.WithoutCancel(ctx)
	if !s.dialect.Uncancelled {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, rollbackGrace)
		defer cancel()
	}
	_, err := conn.ExecContext(ctx, "ROLLBACK")
	if err != nil {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // which takes it out of the pool
	}
	return err
}
