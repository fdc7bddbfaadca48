package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"

	"github.com/go-sql-driver/mysql"

	"ringway/shard/storage"
)

// Errors of the server that only this replica meets, and that may not be there
// the next time. What is not listed needs a person.
var passing = []uint16{
	1020,       // a row changed meanwhile
	1021, 1114, // disk full, table full; see also noSpace
	1037, 1038, 1041, // out of memory
	1040, 1203, 1226, // too many connections
	1053, 1077, 1079, 1094, 1290, 1317, 1836, 1927, 1969, 3024, // shutting down, killed, read-only for now, slower than the server allows
	1158, 1159, 1160, 1161, // a packet that did not come or go
	1205, 1213, // lock wait, deadlock
	1461, 1615, // too many prepared statements, of all clients together; prepare again
}

// noSpace are errors that may be a full disk: their messages have its errno.
var (
	noSpace = []uint16{3, 1026, 1030}
	diskIs  = regexp.MustCompile(`(?i)\b(errno|errcode|error):? 28\b`)
)

const duplicateKey = 1062

// classify marks what is worth another try.
func classify(err error) error {
	if err == nil || errors.Is(err, storage.ErrRetry) {
		return err
	}
	var server *mysql.MySQLError
	var network net.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &server):
		full := slices.Contains(noSpace, server.Number) && diskIs.MatchString(server.Message)
		if !full && !slices.Contains(passing, server.Number) {
			return err
		}
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, mysql.ErrInvalidConn), errors.Is(err, sql.ErrConnDone),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &network):
	default:
		return err
	}
	return fmt.Errorf("%w: %w", storage.ErrRetry, err)
}

func isDuplicateKey(err error) bool { return isServerError(err, duplicateKey) }

func isServerError(err error, number uint16) bool {
	var server *mysql.MySQLError
	return errors.As(err, &server) && server.Number == number
}
