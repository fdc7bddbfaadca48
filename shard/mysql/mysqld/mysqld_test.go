package mysqld_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"go.uber.org/goleak"

	"ringway/internal/testkit"
	"ringway/shard/mysql/mysqld"
	"ringway/shard/mysql/mysqldtest"
)

// A test that kills a supervisor needs one in a process of its own: this
// binary, started again with the directory in this variable.
const supervise = "RINGWAY_TEST_MYSQLD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(supervise); dir != "" {
		superviseUntilKilled(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

func superviseUntilKilled(dir string) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	server, err := mysqld.Find(ctx)
	if err == nil {
		var s *mysqld.Supervisor
		if s, err = mysqld.New(mysqld.DefaultConfig(dir), server, testkit.Quiet); err == nil {
			go func() {
				_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent
				cancel()
			}()
			go func() {
				if s.Ready(ctx) == nil {
					fmt.Println(s.PID())
				}
			}()
			err = s.Run(ctx)
		}
	}
	if err != nil {
		fmt.Println(err)
	}
}

func ask(t *testing.T, s *mysqld.Supervisor, query string) string {
	t.Helper()
	db, err := sql.Open("mysql", s.DSN(""))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var answer string
	if err := db.QueryRowContext(t.Context(), query).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return answer
}

func do(t *testing.T, s *mysqld.Supervisor, statement string) {
	t.Helper()
	db, err := sql.Open("mysql", s.DSN(""))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func gone(pid int) func() error {
	return func() error {
		if alive(pid) {
			return fmt.Errorf("process %d is there", pid)
		}
		return nil
	}
}

func TestRun_KeepsDataAndSettings(t *testing.T) {
	cfg := mysqld.DefaultConfig(t.TempDir())
	s, stop := mysqldtest.Start(t, cfg)
	for query, want := range map[string]string{
		"SELECT @@innodb_flush_log_at_trx_commit": "2", "SELECT @@skip_networking": "1", "SELECT @@log_bin": "0", "SELECT @@innodb_doublewrite": "1",
		"SELECT @@event_scheduler": "DISABLED", "SELECT @@character_set_server": "utf8mb4", "SELECT @@time_zone": "+00:00",
	} {
		if got := ask(t, s, query); !strings.EqualFold(strings.Replace(got, "ON", "1", 1), want) {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
	do(t, s, "CREATE DATABASE kept")
	pid := s.PID()
	stop()
	if alive(pid) {
		t.Error("the server outlived Run")
	}
	output, err := os.ReadFile(filepath.Join(cfg.Dir, "server.log"))
	if err != nil || !strings.Contains(string(output), "Shutdown complete") {
		t.Errorf("no clean shutdown: %v", err)
	}
	again, _ := mysqldtest.Start(t, cfg)
	if got := ask(t, again, "SHOW DATABASES LIKE 'kept'"); got != "kept" {
		t.Errorf("got %q", got)
	}
	if info, err := os.Stat(cfg.Dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others can enter: %v, %v", info.Mode(), err)
	}
}

func TestRun_RestartsACrashedServer(t *testing.T) {
	s, _ := mysqldtest.Start(t, mysqld.DefaultConfig(t.TempDir()))
	do(t, s, "CREATE DATABASE kept")
	first := s.PID()
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, func() error {
		if pid := s.PID(); pid == first || pid == 0 {
			return fmt.Errorf("pid is %d", pid)
		}
		return nil
	})
	mysqldtest.Ready(t, s)
	if got := ask(t, s, "SHOW DATABASES LIKE 'kept'"); got != "kept" {
		t.Errorf("got %q", got)
	}
}

func TestRun_EndsAServerThatStandsStill(t *testing.T) {
	s, stop := mysqldtest.Start(t, mysqld.DefaultConfig(t.TempDir()))
	pid := s.PID()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stop()
	if alive(pid) {
		t.Error("it is still there")
	}
}

func TestRun_ServesFromADeepDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 60), strings.Repeat("e", 60))
	s, _ := mysqldtest.Start(t, mysqld.DefaultConfig(dir))
	if ask(t, s, "SELECT 1") != "1" {
		t.Error("no answer")
	}
}

func TestRun_BeginsAnewAfterAHalfMadeDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "data.new", "mysql"), 0o700); err != nil {
		t.Fatal(err)
	}
	mysqldtest.Start(t, mysqld.DefaultConfig(dir))
}

func TestRun_RefusesTheDataOfAnotherProduct(t *testing.T) {
	cfg := mysqld.DefaultConfig(t.TempDir())
	if err := os.MkdirAll(filepath.Join(cfg.Dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cfg.Dir, "made-by"), []byte("Oracle 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := mysqld.New(cfg, mysqldtest.Find(t), testkit.Quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "Oracle 7") {
		t.Errorf("got %v", err)
	}
}

func TestReady_TellsWhyThereIsNoServer(t *testing.T) {
	cfg := mysqld.DefaultConfig(t.TempDir())
	s, stop := mysqldtest.Start(t, cfg)
	stop()
	if err := os.WriteFile(filepath.Join(cfg.Dir, "data", "ibdata1"), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ = mysqldtest.Begin(t, cfg)
	testkit.Eventually(t, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := s.Ready(ctx); err == nil || !strings.Contains(err.Error(), "[ERROR]") || !strings.Contains(err.Error(), "InnoDB") || strings.Contains(err.Error(), "\n") {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
}

func TestServer_DoesNotOutliveAKilledSupervisor(t *testing.T) {
	mysqldtest.Find(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), supervise+"="+t.TempDir())
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscan(stdout, &pid); err != nil || !alive(pid) {
		t.Fatalf("no server: %d, %v", pid, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	testkit.Eventually(t, gone(pid))
}

func TestRun_EndsWhatWasLeftOnItsData(t *testing.T) {
	cfg := mysqld.DefaultConfig(t.TempDir())
	_, stop := mysqldtest.Start(t, cfg)
	stop()
	left := exec.CommandContext(t.Context(), "/bin/sh", "-c", "read nothing", "--datadir="+filepath.Join(cfg.Dir, "data"))
	stdin, err := left.StdinPipe() // which it waits for
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	pid := left.Process.Pid
	if err := os.WriteFile(filepath.Join(cfg.Dir, "server.pid"), fmt.Appendln(nil, pid), 0o600); err != nil {
		t.Fatal(err)
	}
	again, _ := mysqldtest.Begin(t, cfg)
	if err := left.Wait(); err == nil {
		t.Error("it ended well")
	}
	mysqldtest.Ready(t, again)
}

// A killed MySQL leaves its pid in a lock. In a container that is soon somebody
// else's.
func TestRun_MindsNoLockOfAKilledServer(t *testing.T) {
	cfg := mysqld.DefaultConfig(t.TempDir())
	_, stop := mysqldtest.Start(t, cfg)
	stop()
	if err := os.MkdirAll(filepath.Join(cfg.Dir, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cfg.Dir, "run", "mysqld.sock.lock"), fmt.Appendln(nil, os.Getppid()), 0o600); err != nil {
		t.Fatal(err)
	}
	mysqldtest.Start(t, cfg)
}
