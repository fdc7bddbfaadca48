package mysqld

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

func (s *Supervisor) data() string    { return filepath.Join(s.cfg.Dir, "data") }
func (s *Supervisor) tmp() string     { return filepath.Join(s.cfg.Dir, "tmp") }
func (s *Supervisor) logFile() string { return filepath.Join(s.cfg.Dir, "server.log") }
func (s *Supervisor) pidFile() string { return filepath.Join(s.cfg.Dir, "server.pid") }
func (s *Supervisor) madeBy() string  { return filepath.Join(s.cfg.Dir, "made-by") }

// socketLock is MySQL's; MariaDB has none.
func (s *Supervisor) socketLock() string { return s.socket + ".lock" }

// initialise makes the data directory if there is none. It is made beside its
// place and moved there whole.
func (s *Supervisor) initialise(ctx context.Context) error {
	for _, dir := range []string{s.cfg.Dir, s.tmp(), filepath.Dir(s.socket)} {
		if err := private(dir); err != nil {
			return err
		}
	}
	if _, err := os.Stat(s.data()); err == nil {
		return s.checkMaker()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fresh := s.data() + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return err
	}
	make := s.initialiseMySQL
	if s.server.Product == MariaDB {
		make = s.initialiseMariaDB
	}
	if err := make(ctx, fresh); err != nil {
		return fmt.Errorf("make the data directory of %s: %w", s.server, err)
	}
	if err := os.WriteFile(s.madeBy(), []byte(s.server.String()+"\n"), 0o600); err != nil {
		return err
	}
	if err := durable(fresh, s.madeBy()); err != nil {
		return err
	}
	if err := os.Rename(fresh, s.data()); err != nil {
		return err
	}
	return syncFile(s.cfg.Dir)
}

// durable returns when a power cut cannot take back what is in these trees:
// servers do not sync all that they begin with.
func durable(roots ...string) error {
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() && !d.Type().IsRegular() {
				return err
			}
			return syncFile(path)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// private makes a directory that nobody else can enter, and refuses one that
// somebody else made.
func private(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || ok && int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is no directory of ours", dir)
	}
	return os.Chmod(dir, 0o700)
}

// checkMaker refuses the data of another product, which would be ruined.
func (s *Supervisor) checkMaker() error {
	made, err := os.ReadFile(s.madeBy())
	if err != nil {
		return err
	}
	if product, _, _ := strings.Cut(string(made), " "); product != s.server.Product {
		return fmt.Errorf("the data in %s was made by %s; %s cannot read it", s.cfg.Dir, strings.TrimSpace(string(made)), s.server)
	}
	return nil
}

func (s *Supervisor) initialiseMySQL(ctx context.Context, data string) error {
	return run(exec.CommandContext(ctx, s.server.Path, append(s.base(data), "--initialize-insecure")...))
}

// initialiseMariaDB does what mariadb-install-db does, which is a shell script
// that needs packages of the client's.
func (s *Supervisor) initialiseMariaDB(ctx context.Context, data string) error {
	tables, rows, err := s.systemTables()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, s.server.Path, append(s.base(data), "--bootstrap", "--skip-networking", "--log-warnings=0",
		"--innodb-buffer-pool-size=16M", "--innodb-log-file-size=96M", "--aria-pagecache-buffer-size=2M", "--max-allowed-packet=8M")...)
	cmd.Stdin = io.MultiReader(strings.NewReader("CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket = NULL;\n"), bytes.NewReader(tables), bytes.NewReader(rows))
	return run(cmd)
}

// systemTables finds the SQL that comes with the server.
func (s *Supervisor) systemTables() (tables, rows []byte, err error) {
	path, err := filepath.EvalSymlinks(s.server.Path)
	if err != nil {
		return nil, nil, err
	}
	prefix := filepath.Dir(filepath.Dir(path))
	for _, dir := range []string{prefix + "/share/mysql", prefix + "/share/mariadb", prefix + "/share", "/usr/share/mysql", "/usr/share/mariadb"} {
		for _, name := range []string{"mariadb", "mysql"} {
			tables, err = os.ReadFile(filepath.Join(dir, name+"_system_tables.sql"))
			if err != nil {
				continue
			}
			rows, err = os.ReadFile(filepath.Join(dir, name+"_system_tables_data.sql"))
			return tables, rows, err
		}
	}
	return nil, nil, fmt.Errorf("the server's files are not there (mariadb_system_tables.sql below %s/share)", prefix)
}

func run(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, reason(out))
	}
	return nil
}

// reason is what a server printed about its end, in one line: the
// first error of its last start, which the others follow from.
func reason(output []byte) string {
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	why := ""
	for _, line := range lines {
		switch {
		case strings.Contains(line, " as process "):
			why = ""
		case why == "" && strings.Contains(line, "[ERROR]"):
			why = line
		}
	}
	return strings.TrimSpace(cmp.Or(why, lines[len(lines)-1]))
}

// socketFor is a path for the server's socket. A data directory may lie deeper
// than a socket can.
func socketFor(dir string) string {
	socket := filepath.Join(dir, "run", "mysqld.sock")
	if len(socket) <= maxSocketPath {
		return socket
	}
	sum := sha256.Sum256([]byte(dir))
	short := "ringway-" + strconv.Itoa(os.Geteuid()) + "-" + hex.EncodeToString(sum[:8])
	if socket = filepath.Join(os.TempDir(), short, "mysqld.sock"); len(socket) <= maxSocketPath {
		return socket
	}
	return filepath.Join("/tmp", short, "mysqld.sock")
}
