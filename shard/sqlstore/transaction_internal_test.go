package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	_ "github.com/go-sql-driver/mysql"

	"ringway/internal/testkit"
	"ringway/shard/mysql/mysqld"
	"ringway/shard/mysql/mysqldtest"
)

// Whatever ends a transaction early, the next on the connection has no part of it.
func TestInTransaction_NothingOfAFailureStays(t *testing.T) {
	sup, _ := mysqldtest.Start(t, mysqld.DefaultConfig(t.TempDir()))
	db, err := sql.Open("mysql", sup.DSN("")+"?autocommit=0")
	testkit.Must(t, err)
	t.Cleanup(func() { testkit.Must(t, db.Close()) })
	conn, err := db.Conn(t.Context())
	testkit.Must(t, err)
	t.Cleanup(func() { testkit.Must(t, conn.Close()) })
	for _, statement := range []string{
		"CREATE DATABASE ringway", "USE ringway", "CREATE TABLE studs (Stud_id BIGINT PRIMARY KEY)",
		"CREATE TABLE replicas (incarnation VARBINARY(64), seq BIGINT, batch VARBINARY(64), clock BIGINT, copying TINYINT)",
		"INSERT INTO replicas VALUES ('LOG1', 0, '', 0, 0)", "COMMIT",
	} {
		_, err := conn.ExecContext(t.Context(), statement)
		testkit.Must(t, err)
	}
	take := func(context.Context) (*sql.Conn, func(bool), error) {
		return conn, func(lost bool) {
			if lost {
				t.Error("a connection without a fault was given up, with its statements")
			}
		}, nil
	}
	dialect := backquoted
	dialect.Classify = func(err error) error { return err }
	store := New(&dialect, db, take, studs, Place{Rows: "studs", Catalogue: "replicas", Here: "TRUE"})
	setSeq := func(t *transaction, seq string) error { return mustMove(t.exec("UPDATE replicas SET seq = " + seq)) }
	failure := errors.New("as the test wants it")
	err = store.inTransaction(t.Context(), func(t *transaction) error { return errors.Join(setSeq(t, "1"), failure) })
	if !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
	func() {
		defer func() {
			if recover() != failure { //nolint:errorlint // this very one
				t.Error("the panic is gone")
			}
		}()
		_ = store.inTransaction(t.Context(), func(tx *transaction) error {
			testkit.Must(t, setSeq(tx, "2"))
			return tx.each(tx.ctx, tx.conn, "SELECT seq FROM replicas", nil, func(*sql.Rows) error { panic(failure) })
		})
	}()
	testkit.Must(t, store.inTransaction(t.Context(), func(t *transaction) error {
		_, err := t.exec("DELETE FROM studs WHERE Stud_id = 1")
		return err
	}))
	if p, _, err := store.readPosition(t.Context(), conn); err != nil || p.Seq != 0 {
		t.Errorf("at %v, %v", p, err)
	}
}
