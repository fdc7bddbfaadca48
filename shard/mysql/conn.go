package mysql

import (
	"context"
	"database/sql/driver"
	"fmt"
)

// A connection keeps at most so many prepared statements, of at most so much
// weight in all. To MariaDB a statement is worth 35 KB and a parameter half a KB,
// which is the unit: 25 MB a connection at worst.
const (
	statementsKept = 256
	weightKept     = 50_000
	weight         = 70
)

// weigh is the weight of a statement.
func weigh(s driver.Stmt) int { return weight + s.NumInput() }

// conn is a connection that keeps the statements it has prepared. database/sql
// keeps statements too, but prepares them on a second connection while a
// transaction holds the first: with a full pool everybody would wait for
// everybody.
type conn struct {
	full
	prepared map[string]statement
	order    []string // oldest first
	weight   int      // of all
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
	prepared, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	s := prepared.(statement)
	n := weigh(s)
	for len(c.order) == statementsKept || len(c.order) > 0 && c.weight+n > weightKept {
		c.forgetOldest()
	}
	c.prepared[query] = s
	c.order = append(c.order, query)
	c.weight += n
	return s, nil
}

func (c *conn) forgetOldest() {
	oldest := c.order[0]
	s := c.prepared[oldest]
	c.order = c.order[1:]
	c.weight -= weigh(s)
	delete(c.prepared, oldest)
	_ = s.Close() // a failure shows at the next use of the connection
}
