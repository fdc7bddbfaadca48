package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	_ "github.com/go-sql-driver/mysql" // the peer's driver

	"ringway/shard/mysql/mysqld"

	"ringway/lab/bench/load"
)

// peer is one database server of its own, on a Unix socket, set up as those of
// shard servers are, with more memory.
type peer struct {
	name  string
	db    *sql.DB
	stop  context.CancelFunc
	ended chan struct{}
	pid   int
}

// startPeer starts one that syncs every commit, or, as those of shard servers
// do, every second.
func startPeer(ctx context.Context, o options, name string, clients int, synced bool) (*peer, error) {
	server, err := mysqld.Find(ctx)
	if err != nil {
		return nil, fmt.Errorf("the peer of this measurement: %w (on Debian: apt-get install mariadb-server-core)", err)
	}
	cfg := mysqld.DefaultConfig(filepath.Join(o.dir, name))
	cfg.Connections, cfg.BufferPool = clients+16, 512<<20
	supervisor, err := mysqld.New(cfg, server, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	p := &peer{name: server.String(), stop: stop, ended: make(chan struct{})}
	var failed error
	go func() {
		failed = supervisor.Run(running)
		close(p.ended)
	}()
	if err := p.open(ctx, supervisor, clients, synced); err != nil {
		p.close()
		return nil, errors.Join(err, failed)
	}
	return p, nil
}

func (p *peer) open(ctx context.Context, supervisor *mysqld.Supervisor, clients int, synced bool) error {
	waiting, done := context.WithTimeout(ctx, time.Minute)
	defer done()
	if err := supervisor.Ready(waiting); err != nil {
		return err
	}
	p.pid = supervisor.PID()
	var err error
	if p.db, err = sql.Open("mysql", supervisor.DSN("")); err != nil {
		return err
	}
	p.db.SetMaxOpenConns(clients + 8)
	p.db.SetMaxIdleConns(clients + 8)
	flush := 2
	if synced {
		flush = 1 // what full durability is
	}
	for _, q := range []string{
		fmt.Sprintf("SET GLOBAL innodb_flush_log_at_trx_commit = %d", flush),
		"CREATE DATABASE peer",
		"CREATE TABLE peer.StudT (Stud_id BIGINT PRIMARY KEY, Stud_name VARCHAR(255) NOT NULL, Stud_marks VARCHAR(255) NOT NULL) ENGINE=InnoDB",
	} {
		if _, err := p.db.ExecContext(ctx, q); err != nil {
			return fmt.Errorf("%s: %w", q, err)
		}
	}
	var durable, binlog int
	if err := p.db.QueryRowContext(ctx, "SELECT @@innodb_flush_log_at_trx_commit, @@log_bin").Scan(&durable, &binlog); err != nil {
		return err
	}
	if durable != flush {
		return fmt.Errorf("the peer syncs its commits as %d, not %d", durable, flush)
	}
	return nil
}

func (p *peer) close() {
	if p.db != nil {
		_ = p.db.Close() // its data is thrown away
	}
	p.stop()
	<-p.ended
}

// workers have a connection and a prepared statement each.
func (p *peer) workers(ctx context.Context, n int, statement string, do func(context.Context, *sql.Stmt, int64) error) (all []load.Worker, release func(), err error) {
	var conns []*sql.Conn
	release = func() {
		for _, c := range conns {
			_ = c.Close() // back to the pool, with its statement
		}
	}
	for range n {
		conn, err := p.db.Conn(ctx)
		if err != nil {
			release()
			return nil, nil, err
		}
		conns = append(conns, conn)
		stmt, err := conn.PrepareContext(ctx, statement)
		if err != nil {
			release()
			return nil, nil, err
		}
		all = append(all, func(key int64) error { return do(ctx, stmt, key) })
	}
	return all, release, nil
}

func (p *peer) inserters(ctx context.Context, n int) ([]load.Worker, func(), error) {
	return p.workers(ctx, n, insertion(1), func(ctx context.Context, s *sql.Stmt, key int64) error {
		_, err := s.ExecContext(ctx, values(key, key+1)...)
		return err
	})
}

// insertion is the statement that inserts so many rows.
func insertion(rows int) string {
	return "INSERT INTO peer.StudT VALUES " + strings.TrimSuffix(strings.Repeat("(?,?,?),", rows), ",")
}

// values are those of the rows from a key up to another, for an insertion.
func values(from, to int64) []any {
	args := make([]any, 0, 3*(to-from))
	for key := from; key < to; key++ {
		args = append(args, key, load.StudentName(key), key%101)
	}
	return args
}

func (p *peer) readers(ctx context.Context, n int) ([]load.Worker, func(), error) {
	return p.workers(ctx, n, "SELECT Stud_id, Stud_name, Stud_marks FROM peer.StudT WHERE Stud_id = ?", func(ctx context.Context, s *sql.Stmt, key int64) error {
		var id int64
		var name, marks string
		return s.QueryRowContext(ctx, key).Scan(&id, &name, &marks)
	})
}

func (p *peer) count(ctx context.Context) (rows int, err error) {
	err = p.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM peer.StudT").Scan(&rows)
	return rows, err
}

// fill inserts many rows at once, which is not measured.
func (p *peer) fill(ctx context.Context, from, to int64) error {
	_, err := p.db.ExecContext(ctx, insertion(int(to-from)), values(from, to)...)
	return err
}
