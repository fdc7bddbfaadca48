package mysql

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
	w, err := s.writers.take(ctx, s.name)
	if err != nil {
		return err
	}
	defer w.release()
	committed := false
	defer func() {
		if !committed { // the next transaction would take a part of this along, even after a panic
			w.rollback(ctx)
		}
	}()
	t := &transaction{Store: s, ctx: ctx, conn: w.conn}
	if err = fn(t); err == nil {
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

// exec calls the driver, without database/sql's conversion of each value. The
// values are of types that the driver takes: int64, uint64, string, []byte.
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

// release ends what a connection is in the middle of and gives it back, or, if
// it does not answer, up.
func release(ctx context.Context, conn *sql.Conn) error {
	_ = rollback(ctx, conn) // or it is closed already
	return conn.Close()
}

// rollback ends what a connection is in the middle of, or, if it does not
// answer, the connection, which nobody then has to close.
func rollback(ctx context.Context, conn *sql.Conn) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackGrace)
	defer cancel()
	_, err := conn.ExecContext(ctx, "ROLLBACK")
	if err != nil {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // which takes it out of the pool
	}
	return err
}
