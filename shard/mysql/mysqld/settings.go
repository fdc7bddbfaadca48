package mysqld

import (
	"fmt"
	"os"
	"strconv"
)

// settings are the server's options, all of them: files elsewhere on the
// machine are not read.
func (s *Supervisor) settings() []string {
	options := append(s.base(s.data()),
		"--socket="+s.socket,
		"--pid-file="+s.pidFile(),
		"--log-error="+s.logFile(),
		"--skip-networking",
		"--skip-name-resolve",
		"--skip-log-bin",                     // the log of the shard is the log
		"--innodb-flush-log-at-trx-commit=2", // a commit reaches the kernel; the disk within a second
		"--innodb-doublewrite=ON",
		"--innodb-file-per-table=ON",
		"--innodb-buffer-pool-size="+strconv.FormatInt(s.cfg.BufferPool, 10),
		"--innodb-log-buffer-size=8M",
		"--innodb-buffer-pool-dump-at-shutdown=OFF",
		"--innodb-buffer-pool-load-at-startup=OFF",
		"--max-connections="+strconv.Itoa(s.cfg.Connections+1), // one for a person who looks
		"--max-prepared-stmt-count=65536",
		"--max-allowed-packet=64M",
		"--key-buffer-size=1M",
		"--table-open-cache=400",
		"--thread-cache-size=8",
		"--performance-schema=OFF",
		"--local-infile=OFF",
		"--sql-mode=STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO",
		"--default-time-zone=+00:00",
		"--transaction-isolation=REPEATABLE-READ",
	)
	if s.server.Product == MariaDB {
		return append(options, "--event-scheduler=DISABLED", "--innodb-log-file-size=96M", "--aria-pagecache-buffer-size=2M", "--log-warnings=1")
	}
	return append(options, "--event-scheduler=DISABLED", "--innodb-redo-log-capacity=128M", "--log-error-verbosity=2")
}

// base are the options that have to be the same when a data directory is made
// and ever after.
func (s *Supervisor) base(data string) []string {
	options := []string{
		"--no-defaults",
		"--datadir=" + data,
		"--tmpdir=" + s.tmp(),
		"--lower-case-table-names=0",
		"--character-set-server=utf8mb4",
		"--collation-server=utf8mb4_bin",
	}
	if os.Geteuid() == 0 {
		options = append(options, "--user=root") // it does not run as root without this; the socket is reached by root only
	}
	if s.server.Product == MySQL {
		options = append(options, "--mysqlx=0", "--secure-file-priv=NULL")
	}
	return options
}

// maxSocketPath is what fits sockaddr_un with its final zero.
const maxSocketPath = 107

// DSN is how go-sql-driver reaches the server; database is made by who opens it.
func (s *Supervisor) DSN(database string) string {
	return fmt.Sprintf("root@unix(%s)/%s", s.socket, database)
}
