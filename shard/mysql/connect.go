package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/go-sql-driver/mysql"
)

// maxPacket is MariaDB's default for max_allowed_packet, and below that of
// MySQL since 8.0.
const maxPacket = 16 << 20

// setUp pins what a server's settings could change in the meaning of our
// statements, or in when they give up.
const setUp = "SET SESSION sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO', time_zone='+00:00', autocommit=%d, completion_type='NO_CHAIN', net_write_timeout=3600, innodb_lock_wait_timeout=%d" +
	" /*M!100101 , max_statement_time=0 */ /*!50708 , max_execution_time=0 */" // MariaDB's name and MySQL's; each passes over the other's

const isolation = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"

// connect opens the pools, and makes the database if it is not there. It touches
// no database of another owner.
func connect(ctx context.Context, cfg Config) (*sql.DB, *writers, error) {
	if cfg.Connections < 2 {
		return nil, nil, fmt.Errorf("%d connections: want 2 or more, for reads and for transactions", cfg.Connections)
	}
	parsed, err := parseDSN(cfg.DSN)
	if err != nil {
		return nil, nil, err
	}
	parsed.Collation = "utf8mb4_bin"
	parsed.Loc = time.UTC
	parsed.ParseTime, parsed.InterpolateParams, parsed.MultiStatements, parsed.AllowAllFiles = false, false, false, false
	parsed.ClientFoundRows = true // a compare-and-set counts what it found
	parsed.MaxAllowedPacket = maxPacket
	parsed.Timeout, parsed.ReadTimeout, parsed.WriteTimeout = min(cfg.IO, 10*time.Second), cfg.IO, cfg.IO
	parsed.Logger = &mysql.NopLogger{} // what it would print comes back as an error too
	if cfg.Owner == nil || !cfg.Owner.Had {
		if err := makeDatabase(ctx, *parsed); err != nil {
			return nil, nil, err
		}
	}
	connector, err := mysql.NewConnector(parsed)
	if err != nil {
		return nil, nil, err
	}
	with := func(autocommit int) pinned {
		return pinned{connector, []string{fmt.Sprintf(setUp, autocommit, max(1, int(cfg.LockWait/time.Second))), isolation}}
	}
	writing := min(maxWriters, cfg.Connections/2)
	db := sql.OpenDB(with(1))
	db.SetMaxOpenConns(cfg.Connections - writing)
	db.SetMaxIdleConns(cfg.Connections)
	db.SetConnMaxIdleTime(time.Minute) // a connection keeps its prepared statements in the server's memory
	if cfg.Owner != nil {
		if err := cfg.Owner.own(ctx, db, parsed.DBName); err != nil {
			return nil, nil, errors.Join(classify(err), db.Close())
		}
	}
	return db, newWriters(with(0), writing), nil
}

func makeDatabase(ctx context.Context, cfg mysql.Config) error {
	name := dialect.Name(cfg.DBName)
	cfg.DBName = ""
	connector, err := mysql.NewConnector(&cfg)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	if _, err := db.ExecContext(ctx, "CREATE DATABASE IF NOT EXISTS "+name+" CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"); err != nil {
		return classify(err)
	}
	return nil
}
