package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"ringway/shard/storage"
)

func TestClassify(t *testing.T) {
	f := func(retry bool, err error) {
		t.Helper()
		got := classify(fmt.Errorf("deep down: %w", err))
		if errors.Is(got, storage.ErrRetry) != retry || !errors.Is(got, err) {
			t.Errorf("%v became %v", err, got)
		}
	}
	server := func(n uint16, says string) error { return &mysql.MySQLError{Number: n, Message: says} }
	f(true, server(1213, "Deadlock found"))
	f(true, server(1205, "Lock wait timeout exceeded"))
	f(true, server(1461, "Can't create more than max_prepared_stmt_count statements"))
	f(true, server(1114, "The table is full"))
	f(true, server(1030, `Got error 28 "No space left on device" from storage engine InnoDB`))
	f(true, server(1026, `Error writing file './ringway/x.ibd' (Errcode: 28 "No space left on device")`))
	f(true, server(3, `Error writing file '/tmp/MLx' (OS errno 28 - No space left on device)`))
	f(true, server(1969, "Query execution was interrupted (max_statement_time exceeded)"))
	f(true, server(1053, "Server shutdown in progress"))
	f(true, driver.ErrBadConn)
	f(true, mysql.ErrInvalidConn)
	f(true, io.ErrUnexpectedEOF)
	f(true, &net.OpError{Op: "dial", Err: errors.New("refused")})
	f(false, server(1030, `Got error 194 "Tablespace is missing" from storage engine InnoDB`))
	f(false, server(1030, `Got error 128 "Out of memory in engine" from storage engine Aria`))
	f(false, server(3, `Error writing file '/var/lib/28.ibd' (Errcode: 5 "Input/output error")`))
	f(false, server(1062, "Duplicate entry"))
	f(false, server(1146, "Table doesn't exist"))
	f(false, server(1064, "syntax"))
	f(false, context.Canceled)
	f(false, context.DeadlineExceeded)
	f(false, errors.New("something else"))
}

func TestTableName_FitsAndDiffers(t *testing.T) {
	long := strings.Repeat("x", 47)
	seen := map[string]bool{}
	for _, c := range [][2]string{{"StudT", "sh1"}, {"a_b", "c"}, {"a", "b_c"}, {long + "a", long + "a"}, {long + "a", long + "b"}, {long + "b", long + "a"}, {"a", long}, {long, "a"}} {
		name := tableName(c[0], c[1])
		if len(resultsTable(name)) > 64 || seen[name] {
			t.Errorf("%v becomes %q", c, name)
		}
		seen[name] = true
	}
	if !seen["StudT$sh1"] {
		t.Error("a short name is not readable")
	}
}

func TestReportLines(t *testing.T) {
	for _, report := range []string{
		"---\nLOG\n---\nLog sequence number 2663311\nLog flushed up to   2663300\nPages flushed up to 45079\n",
		"---\nLOG\n---\nLog sequence number          31000\nLog buffer assigned up to    31000\nLog buffer completed up to   31000\nLog written up to            31000\nLog flushed up to            30990\nAdded dirty pages up to      31000\n",
	} {
		if found := reportLines.FindStringSubmatch(report); found == nil || found[1] <= found[2] {
			t.Errorf("got %v", found)
		}
	}
}
