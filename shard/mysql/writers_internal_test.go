package mysql

import (
	"context"
	"database/sql/driver"
	"strings"
	"testing"

	"ringway/internal/testkit"
	"ringway/shard/mysql/mysqld"
	"ringway/shard/mysql/mysqldtest"
)

// A replica keeps to its connection, until that is lost.
func TestWriters_KeepAConnection(t *testing.T) {
	sup, _ := mysqldtest.Start(t, mysqld.DefaultConfig(t.TempDir()))
	cfg := DefaultConfig()
	cfg.DSN = sup.DSN("ringway")
	engine, err := Open(t.Context(), cfg)
	testkit.Must(t, err)
	t.Cleanup(func() { testkit.Must(t, engine.Close()) })
	first, release, err := engine.writers.take(t.Context(), "a replica")
	testkit.Must(t, err)
	release(false)
	second, release, err := engine.writers.take(t.Context(), "a replica")
	testkit.Must(t, err)
	if second != first {
		t.Error("a connection without a fault was given up, with its statements")
	}
	testkit.Must(t, second.Close())
	release(true)
	third, release, err := engine.writers.take(t.Context(), "a replica")
	testkit.Must(t, err)
	defer release(false)
	testkit.Must(t, third.PingContext(t.Context()))
}

// preparing is a connection that only prepares.
type preparing struct {
	full
	statements, parameters int
}

type counted struct {
	statement
	of *preparing
	n  int
}

func (p *preparing) PrepareContext(_ context.Context, query string) (driver.Stmt, error) {
	s := counted{of: p, n: strings.Count(query, "?")}
	p.statements++
	p.parameters += s.n
	return s, nil
}

func (s counted) NumInput() int { return s.n }

func (s counted) Close() error {
	s.of.statements--
	s.of.parameters -= s.n
	return nil
}

func TestConn_KeepsSomeStatements(t *testing.T) {
	f := func(statements, parameters, wantKept int) {
		t.Helper()
		raw := &preparing{}
		c := &conn{full: raw, prepared: map[string]statement{}}
		one := weight + parameters
		for i := range statements {
			query := strings.Repeat(" ", i) + strings.Repeat("?", parameters)
			for range 2 { // the second time it is there
				if _, err := c.statement(t.Context(), query); err != nil {
					t.Fatal(err)
				}
			}
			if raw.statements > statementsKept || raw.statements*one > max(one, weightKept) {
				t.Fatalf("keeps %d statements with %d parameters", raw.statements, raw.parameters)
			}
		}
		if raw.statements != wantKept || len(c.prepared) != wantKept || len(c.order) != wantKept || c.weight != wantKept*one || raw.parameters != wantKept*parameters {
			t.Errorf("%d statements of %d parameters: keeps %d, want %d", statements, parameters, raw.statements, wantKept)
		}
	}
	f(10, 1, 10)
	f(300, 1, statementsKept)
	f(300, 1024, weightKept/(weight+1024))
	f(3, weightKept+1, 1)
}
