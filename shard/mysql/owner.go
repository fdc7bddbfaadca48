package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// Owner is who has a database of a server that others can reach too. Two
// owners would take one copy for two, and what is not ours would be erased.
type Owner struct {
	Token string // random, of whoever has the database
	Place string // where that is, for people
	Had   bool   // it had the database before: what is not there is lost, not new
}

const (
	createOwner = "CREATE TABLE IF NOT EXISTS ringway_owner (id TINYINT NOT NULL PRIMARY KEY, token VARBINARY(64) NOT NULL, place VARBINARY(1024) NOT NULL) " +
		"ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
	putOwner    = "INSERT INTO ringway_owner (id, token, place) VALUES (1, ?, ?)"
	readOwner   = "SELECT token, place FROM ringway_owner WHERE id = 1"
	otherTables = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name <> 'ringway_owner' ORDER BY table_name LIMIT 4"
)

const noSuchTable = 1146

// own takes the database for its owner, or fails with whose it is. The primary key
// decides among those who begin at once.
func (o *Owner) own(ctx context.Context, db *sql.DB, database string) error {
	token, place, err := o.present(ctx, db)
	switch {
	case isServerError(err, noSuchTable):
		if o.Had {
			return fmt.Errorf("database %s is not the database that this directory belongs to, or was emptied; to begin anew use another directory", database)
		}
		if err := empty(ctx, db, database); err != nil {
			// Somebody who began at the same time may have become the owner
			// and made its tables.
			if token, place, _ = o.present(ctx, db); token == "" {
				return err
			}
		} else if _, err := db.ExecContext(ctx, createOwner); err != nil {
			return err
		}
	case err != nil && !errors.Is(err, sql.ErrNoRows):
		return err
	}
	if token == "" {
		_, err := db.ExecContext(ctx, putOwner, o.Token, o.Place)
		if err != nil && !isDuplicateKey(err) {
			return err
		}
		if token, place, err = o.present(ctx, db); err != nil {
			return err
		}
	}
	if token != o.Token {
		return fmt.Errorf("database %s belongs to the shard server whose directory is %s: give this one a database of its own, or, if that one is gone for good, delete the row of %s.ringway_owner", database, place, database)
	}
	return nil
}

func (o *Owner) present(ctx context.Context, db *sql.DB) (token, place string, err error) {
	err = db.QueryRowContext(ctx, readOwner).Scan(&token, &place)
	return token, place, err
}

// empty refuses a database with anything in it.
func empty(ctx context.Context, db *sql.DB, database string) error {
	rows, err := db.QueryContext(ctx, otherTables)
	if err != nil {
		return err
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if len(names) > 3 {
		names[3] = "…"
	}
	if len(names) > 0 {
		return fmt.Errorf("database %s has other tables in it (%s): give the shard server a database of its own", database, strings.Join(names, ", "))
	}
	return nil
}

// CheckDSN refuses what cannot be the DSN of a database, without telling the
// password in it.
func CheckDSN(dsn string) error {
	_, err := parseDSN(dsn)
	return err
}

func parseDSN(dsn string) (*mysql.Config, error) {
	const form = "user:password@tcp(host:port)/database or user:password@unix(socket)/database"
	parsed, err := mysql.ParseDSN(dsn)
	switch {
	case err != nil && (!strings.Contains(dsn, "/") || strings.Contains(err.Error(), "network")):
		// The driver would quote what it takes for the name of a network.
		return nil, fmt.Errorf("dsn: it has to look like %s", form)
	case err != nil:
		return nil, fmt.Errorf("dsn: %w", err)
	case parsed.DBName == "":
		return nil, fmt.Errorf("dsn: it names no database; it has to look like %s", form)
	}
	return parsed, nil
}
