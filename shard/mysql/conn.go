package mysql

import (
	"context"
	"database/sql/driver"
	"fmt"
)

// statementsKept bounds the prepared statements of one connection.
const statementsKept = 256

// conn is a connection that keeps the statements it has prepared. database/sql
// keeps statements too, but prepares them on a second connection while a
// transaction holds the first: with a full pool everybody would wait for
// everybody.
type conn struct {
	full
	prepared map[string]statement
	order    []string // oldest first
}

// full is what the driver's connections are.
type full interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

type statement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// pinned makes connections and sets up each.
type pinned struct {
	driver.Connector
	setUp []string
}

func (p pinned) Connect(ctx context.Context) (driver.Conn, error) {
	raw, err := p.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	c := &conn{full: raw.(full), prepared: map[string]statement{}}
	for _, query := range p.setUp {
		if _, err := c.ExecContext(ctx, query, nil); err != nil {
			_ = c.Close() // the statement's error says more
			return nil, fmt.Errorf("set up connection: %w", err)
		}
	}
	return c, nil
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if len(args) == 0 {
		return c.full.ExecContext(ctx, query, nil)
	}
	s, err := c.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(ctx, args)
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if len(args) == 0 {
		return c.full.QueryContext(ctx, query, nil)
	}
	s, err := c.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args)
}

func (c *conn) statement(ctx context.Context, query string) (statement, error) {
	if s := c.prepared[query]; s != nil {
		return s, nil
	}
	if len(c.order) == statementsKept {
		oldest := c.order[0]
		c.order = c.order[1:]
		_ = c.prepared[oldest].Close() // a failure shows at the next use of the connection
		delete(c.prepared, oldest)
	}
	s, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	c.prepared[query] = s.(statement)
	c.order = append(c.order, query)
	return s.(statement), nil
}
