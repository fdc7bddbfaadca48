package volume_test

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"

	"ringway/internal/testkit"
	"ringway/shard/mysql/mysqld"
	"ringway/shard/mysql/mysqldtest"
	"ringway/shard/storage"
	"ringway/shard/storetest"
	"ringway/shard/volume"
)

// foreign is a database server that somebody else runs, as far as a volume
// can tell, and its administrator.
type foreign struct {
	t   *testing.T
	sup *mysqld.Supervisor
	db  *sql.DB
}

func newForeign(t *testing.T) *foreign {
	t.Helper()
	sup, _ := mysqldtest.Start(t, mysqld.DefaultConfig(t.TempDir()))
	db, err := sql.Open("mysql", sup.DSN(""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return &foreign{t, sup, db}
}

func (f *foreign) exec(statements ...string) {
	f.t.Helper()
	for _, s := range statements {
		if _, err := f.db.ExecContext(f.t.Context(), s); err != nil {
			f.t.Fatalf("%s: %v", s, err)
		}
	}
}

// tables are those of a database.
func (f *foreign) tables(database string) (names []string) {
	f.t.Helper()
	rows, err := f.db.QueryContext(f.t.Context(), "SELECT table_name FROM information_schema.tables WHERE table_schema = ?", database)
	if err != nil {
		f.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			f.t.Fatal(err)
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		f.t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// use opens a volume on a database once, does something with the engine, and
// closes both.
func use(t *testing.T, dir, engine, dsn string, with func(storage.Engine)) (name string, err error) {
	t.Helper()
	cfg := volume.DefaultConfig(dir)
	cfg.Engine, cfg.DSN, cfg.Patience = engine, dsn, time.Second
	v := volume.New(cfg, testkit.Quiet)
	defer v.Close()
	e, name, err := v.Open(t.Context())
	if err != nil {
		return "", err
	}
	if with != nil {
		with(e)
	}
	return name, e.Close()
}

// refused demands an error that says all of these, and no password.
func refused(t *testing.T, err error, says ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("it is taken; want an error that says %q", says)
		return
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("it says %q, not %q", err, s)
		}
	}
	if strings.Contains(err.Error(), "s3cret") {
		t.Errorf("it tells the password: %s", err)
	}
}

func TestDSN_ItsDataIsThereAgain(t *testing.T) {
	f := newForeign(t)
	f.exec("CREATE USER app@localhost IDENTIFIED BY 's3cret'", "GRANT ALL ON ringway.* TO app@localhost")
	dsn, dir := strings.Replace(f.sup.DSN("ringway"), "root@", "app:s3cret@", 1), t.TempDir()
	for range 3 { // in the first life it is made
		name, err := use(t, dir, volume.Auto, dsn, func(e storage.Engine) {
			if _, err := e.Create(t.Context(), storetest.Students(), storetest.Log); err != nil && !errors.Is(err, storage.ErrExists) {
				t.Error(err)
			}
			if all, err := e.List(t.Context()); err != nil || len(all) != 1 {
				t.Errorf("it holds %v, %v", all, err)
			}
		})
		if err != nil || !strings.HasPrefix(name, "M") {
			t.Fatalf("%q, %v", name, err)
		}
	}
}

func TestDSN_WhatIsWrongWithItIsSaid(t *testing.T) {
	f := newForeign(t)
	f.exec("CREATE USER app@localhost IDENTIFIED BY 's3cret'", "GRANT ALL ON ringway.* TO app@localhost")
	ours, socket := f.sup.DSN("ringway"), strings.TrimSuffix(strings.TrimPrefix(f.sup.DSN(""), "root@unix("), ")/")
	try := func(name, dsn string, says ...string) {
		t.Run(name, func(t *testing.T) {
			_, err := use(t, t.TempDir(), volume.Auto, dsn, nil)
			refused(t, err, says...)
		})
	}
	try("password", "app:s3cretive@unix("+socket+")/ringway", "Access denied", "app")
	try("another database", "app:s3cret@unix("+socket+")/shop", "Access denied", "shop")
	try("nobody there", "root:s3cret@unix("+socket+".gone)/ringway", storage.ErrRetry.Error(), socket+".gone")
	try("no database", f.sup.DSN(""), "names no database")
	try("no database at all", "root:s3cret@tcp(h:3306)", "user:password@tcp(host:port)/database")
	try("no protocol", "root:s3cret@h:3306/ringway", "user:password@tcp(host:port)/database")
	try("no user", "root:s3cret/ringway", "user:password@tcp(host:port)/database")
	try("a URL", "mysql://root:s3cret@h:3306/ringway", "user:password@tcp(host:port)/database")
	if got := f.tables("ringway"); len(got) > 0 {
		t.Errorf("tables are left: %q", got)
	}
	if _, err := use(t, t.TempDir(), volume.SQLite, ours, nil); err == nil {
		t.Error("SQLite is wanted, and a server is taken")
	}
}

// A database that holds anything but what Ringway put there is left alone.
func TestDSN_DatabaseOfSomebodyElseIsLeftAlone(t *testing.T) {
	f := newForeign(t)
	f.exec("CREATE DATABASE shop", "CREATE TABLE shop.orders (id INT PRIMARY KEY)", "INSERT INTO shop.orders VALUES (7)",
		"CREATE TABLE shop.`StudT$sh1` (id INT PRIMARY KEY)", "INSERT INTO shop.`StudT$sh1` VALUES (8)")
	_, err := use(t, t.TempDir(), volume.Auto, f.sup.DSN("shop"), func(e storage.Engine) {
		_, err := e.Create(t.Context(), storetest.Students(), storetest.Log)
		t.Logf("it makes a replica: %v", err)
	})
	refused(t, err, "shop", "orders", "database of its own")
	if got, want := f.tables("shop"), []string{"StudT$sh1", "orders"}; !slices.Equal(got, want) {
		t.Errorf("it has tables %q, want %q", got, want)
	}
	var sum int
	if err := f.db.QueryRowContext(t.Context(), "SELECT o.id + s.id FROM shop.orders o, shop.`StudT$sh1` s").Scan(&sum); err != nil || sum != 15 {
		t.Errorf("the rows are %d, %v", sum, err)
	}
}

// Two shard servers on one database would be one copy that counts as two.
func TestDSN_ServesOneVolumeOnly(t *testing.T) {
	f := newForeign(t)
	dsn, first := f.sup.DSN("ringway"), t.TempDir()
	if _, err := use(t, first, volume.Auto, dsn, func(storage.Engine) {
		_, err := use(t, t.TempDir(), volume.Auto, dsn, nil)
		refused(t, err, "belongs to", first)
	}); err != nil {
		t.Fatal(err)
	}
	_, err := use(t, t.TempDir(), volume.Auto, dsn, nil)
	refused(t, err, "belongs to", first)
	if _, err := use(t, first, volume.Auto, dsn, nil); err != nil {
		t.Errorf("its own: %v", err)
	}
	f.exec("DELETE FROM ringway.ringway_owner") // as the error advises, when the first is gone for good
	second := t.TempDir()
	if _, err := use(t, second, volume.Auto, dsn, nil); err != nil {
		t.Errorf("the next: %v", err)
	}
	_, err = use(t, first, volume.Auto, dsn, nil)
	refused(t, err, "belongs to", second)
}

func TestDSN_OfManyThatBeginAtOnceOneGetsIt(t *testing.T) {
	f := newForeign(t)
	for round := range 5 {
		var all sync.WaitGroup
		errs := make(chan error, 6)
		for range cap(errs) {
			dir := t.TempDir()
			all.Go(func() {
				_, err := use(t, dir, volume.Auto, f.sup.DSN(fmt.Sprint("race", round)), nil)
				errs <- err
			})
		}
		all.Wait()
		close(errs)
		got := 0
		for err := range errs {
			if err == nil {
				got++
			} else {
				refused(t, err, "belongs to")
			}
		}
		if got != 1 {
			t.Errorf("%d got it", got)
		}
	}
}

// What a volume has in one place it does not silently begin anew in another.
func TestDSN_VolumeStaysWithItsDatabase(t *testing.T) {
	f := newForeign(t)
	dir := t.TempDir()
	if _, err := use(t, dir, volume.Auto, f.sup.DSN("ringway"), nil); err != nil {
		t.Fatal(err)
	}
	_, err := use(t, dir, volume.Auto, f.sup.DSN("another"), nil)
	refused(t, err, "Unknown database", "another")
	f.exec("CREATE DATABASE another")
	_, err = use(t, dir, volume.Auto, f.sup.DSN("another"), nil)
	refused(t, err, "another", "not the database")
	_, err = use(t, dir, volume.SQLite, "", nil)
	refused(t, err, "--dsn")
	_, err = use(t, dir, volume.Auto, "", nil)
	refused(t, err, "--dsn")
	f.exec("DROP DATABASE ringway")
	_, err = use(t, dir, volume.Auto, f.sup.DSN("ringway"), nil)
	refused(t, err, "ringway")
	if got := f.tables("ringway"); len(got) > 0 {
		t.Errorf("tables are made: %q", got)
	}
	// A DSN that was never any good binds nobody.
	dir = t.TempDir()
	_, err = use(t, dir, volume.Auto, "root:wrong@unix(/nowhere)/ringway", nil)
	refused(t, err, "/nowhere")
	if _, err := use(t, dir, volume.SQLite, "", nil); err != nil {
		t.Error(err)
	}
	// The other way round: a directory with an engine's data in it.
	dir = t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "sqlite"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sqlite", "StudT.sh1.sqlite"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = use(t, dir, volume.Auto, f.sup.DSN("third"), nil)
	refused(t, err, "holds the data of sqlite")
}

// A process may die between any two steps of taking a database.
func TestDSN_HalfTakenIsTakenByTheSame(t *testing.T) {
	f := newForeign(t)
	dir, dsn := t.TempDir(), f.sup.DSN("ringway")
	if _, err := use(t, dir, volume.Auto, dsn, nil); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "database")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	half := []byte(strings.Replace(string(whole), `"made":true`, `"made":false`, 1))
	if string(half) == string(whole) {
		t.Fatalf("the file is %s", whole)
	}
	for _, undo := range []string{"SELECT 1", "DELETE FROM ringway.ringway_owner", "DROP TABLE ringway.ringway_owner, ringway.ringway_replicas"} {
		if err := os.WriteFile(file, half, 0o600); err != nil {
			t.Fatal(err)
		}
		f.exec(undo)
		if _, err := use(t, dir, volume.Auto, dsn, nil); err != nil {
			t.Errorf("after %s: %v", undo, err)
		}
		if now, err := os.ReadFile(file); err != nil || string(now) != string(whole) {
			t.Errorf("after %s the file is %s, %v", undo, now, err)
		}
	}
}
