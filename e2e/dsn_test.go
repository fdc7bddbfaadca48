package e2e

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringway/shard/mysql/mysqld"
	"ringway/shard/mysql/mysqldtest"
)

// foreignServer is a database server that somebody runs for others; once it is
// killed it is away for a few seconds.
func foreignServer(t *testing.T) *mysqld.Supervisor {
	t.Helper()
	cfg := mysqld.DefaultConfig(t.TempDir())
	cfg.BackOff, cfg.MaxBackOff = 3*time.Second, 3*time.Second
	sup, _ := mysqldtest.Start(t, cfg)
	return sup
}

// A shard server on a database server of somebody else joins, is filled, and
// loses nothing when that server or it is killed under load.
func TestDB_ShardServerOnADatabaseOfSomebodyElse(t *testing.T) {
	t.Parallel()
	sup := foreignServer(t)
	db, err := sql.Open("mysql", sup.DSN(""))
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		"CREATE USER app@localhost IDENTIFIED BY 's3cret'", "GRANT ALL ON ringway.* TO app@localhost",
		"CREATE DATABASE shop", "CREATE TABLE shop.orders (id INT PRIMARY KEY)",
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	_ = db.Close() // nothing was begun
	ours := strings.Replace(sup.DSN("ringway"), "root@", "app:s3cret@", 1)
	h := startByHand(t)
	for i := range dbReplicas - 1 {
		h.ready(h.add(fmt.Sprint("plain", i), nil, "--engine", "sqlite", "--data", t.TempDir()))
	}
	set := &setWriters{client: newDBClient(func() string { return h.http })}
	eventually(t, 30*time.Second, func() error {
		if !set.one(t.Context(), false) {
			return errors.New("no write succeeds")
		}
		return nil
	})
	set.writeFor(time.Second)
	dir := t.TempDir()
	foreign := h.add("foreign", []string{"RINGWAY_DSN=" + ours}, "--data", dir)
	h.ready(foreign)
	if b, _, _ := foreign.status(); !strings.HasPrefix(b.Engine, "M") {
		t.Errorf("its engine is %q", b.Engine)
	}
	w := newWork()
	w.each(8, set.work(w.ctx))
	for i := range rounds(2, 10) {
		wait(t.Context(), 500*time.Millisecond)
		if err := syscall.Kill(sup.PID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		h.away(foreign)
		h.ready(foreign)
		wait(t.Context(), 500*time.Millisecond)
		foreign.kill()
		if i > 0 { // it begins while its database is away
			if err := syscall.Kill(sup.PID(), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		h.start(foreign)
		h.ready(foreign)
	}
	w.end()
	found := h.settled()
	set.askOpen(t)
	report(t, set.check(t, found, nil))

	twin := h.add("twin", nil, "--dsn", ours, "--data", t.TempDir())
	h.awaitDetail(twin, "belongs to", dir)
	h.awaitDetail(h.add("guess", nil, "--dsn", strings.Replace(ours, "s3cret", "s3cretive", 1), "--data", t.TempDir()), "Access denied", "app")
	h.awaitDetail(h.add("shop", nil, "--dsn", sup.DSN("shop"), "--data", t.TempDir()), "shop", "orders", "database of its own")
	h.ready(foreign)
	foreign.kill()
	h.start(foreign)
	h.ready(foreign)
	wrong := ringway(h.id, "shard", "--id", "wrong", "--nats", h.nats, "--listen", "127.0.0.1:0", "--dsn", "app:s3cret/ringway", "--data", t.TempDir())
	out, err := wrong.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "user:password@tcp(host:port)/database") || strings.Contains(string(out), "s3cret") {
		t.Errorf("%v: %s", err, out)
	}
}
