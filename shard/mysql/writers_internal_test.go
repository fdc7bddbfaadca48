package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"

	"ringway/internal/testkit"
	"ringway/shard/mysql/mysqld"
	"ringway/shard/mysql/mysqldtest"
	"ringway/shard/storetest"
)

// Whatever ends a transaction early, the next on the connection has no part of it.
func TestInTransaction_NothingOfAFailureStays(t *testing.T) {
	sup, _ := mysqldtest.Start(t, mysqld.DefaultConfig(t.TempDir()))
	cfg := DefaultConfig()
	cfg.DSN = sup.DSN("ringway")
	engine, err := Open(t.Context(), cfg)
	testkit.Must(t, err)
	t.Cleanup(func() { testkit.Must(t, engine.Close()) })
	made, err := engine.Create(t.Context(), storetest.Students(), storetest.Log)
	testkit.Must(t, err)
	store := made.(*Store)
	rebase := func(t *transaction, seq int64) error {
		return mustMove(t.exec("UPDATE ringway_replicas SET seq = ? WHERE name = ?", seq, t.name))
	}
	failure := errors.New("as the test wants it")
	err = store.inTransaction(t.Context(), func(t *transaction) error { return errors.Join(rebase(t, 1), failure) })
	if !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
	kept := engine.writers.writer(store.name).conn
	if kept == nil {
		t.Error("a connection without a fault was given up, with its statements")
	}
	func() {
		defer func() {
			if recover() != failure { //nolint:errorlint // this very one
				t.Error("the panic is gone")
			}
		}()
		_ = store.inTransaction(t.Context(), func(tx *transaction) error {
			testkit.Must(t, rebase(tx, 2))
			rows, err := tx.conn.QueryContext(tx.ctx, readPosition, tx.name)
			testkit.Must(t, err)
			return each(rows, func() {}, func() error { panic(failure) })
		})
	}()
	testkit.Must(t, store.inTransaction(t.Context(), func(t *transaction) error {
		_, err := t.exec("DELETE FROM "+quote(t.name)+" WHERE Stud_id = ?", int64(1))
		return err
	}))
	if p, err := store.Position(t.Context()); err != nil || p.Seq != 0 {
		t.Errorf("at %v, %v", p, err)
	}
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
