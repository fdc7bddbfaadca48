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
	ctx  context.Context // of the one call that this is part of
	conn *sql.Conn
}

// inTransaction is not database/sql's: that one's Commit obeys no context, and
// a server that stands still would hold an applier for as long as the
// connection lets it.
func (s *Store) inTransaction(ctx context.Context, fn func(*transaction) error) error {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	t := &transaction{Store: s, ctx: ctx, conn: conn}
	if _, err = t.exec("START TRANSACTION"); err == nil {
		err = fn(t)
	}
	if err == nil {
		_, err = t.exec("COMMIT")
	}
	if err != nil {
		_ = release(ctx, conn) // err says more
		return err
	}
	return conn.Close()
}

func (t *transaction) exec(query string, args ...any) (sql.Result, error) {
	return t.conn.ExecContext(t.ctx, query, args...)
}

// execRaw spares many values of types that the driver knows (int64, string)
// database/sql's look at each.
func (t *transaction) execRaw(query string, args []driver.NamedValue) error {
	return t.conn.Raw(func(c any) error {
		_, err := c.(driver.ExecerContext).ExecContext(t.ctx, query, args)
		return err
	})
}

// release ends what a connection is in the middle of and gives it back, or, if
// it does not answer, up.
func release(ctx context.Context, conn *sql.Conn) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackGrace)
	defer cancel()
	if _, err := conn.ExecContext(ctx, "ROLLBACK"); err != nil {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // which takes it out of the pool
	}
	return conn.Close()
}
