package mysqld

import (
	"strings"
	"testing"
)

func TestIdentify(t *testing.T) {
	f := func(output, want string) {
		t.Helper()
		s, err := identify("/x/mysqld", output)
		if want == "" {
			if err == nil {
				t.Errorf("%q is %s", output, s)
			}
			return
		}
		if err != nil || s.String() != want {
			t.Errorf("%q: got %s, %v, want %s", output, s, err, want)
		}
	}
	f("mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)", "MariaDB 10.11.19")
	f("/usr/sbin/mysqld  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)", "MySQL 8.0.36")
	f("/usr/sbin/mysqld  Ver 9.7.0-1 for Linux on x86_64 ((Debian))", "MySQL 9.7.0")
	f("BusyBox v1.36", "")
	f("", "")
}

func TestSocketFor_AlwaysFits(t *testing.T) {
	if got := socketFor("/data/x"); got != "/data/x/run/mysqld.sock" {
		t.Errorf("got %s", got)
	}
	deep := "/" + strings.Repeat("d", 150)
	t.Setenv("TMPDIR", "/"+strings.Repeat("t", 150))
	a, b := socketFor(deep), socketFor(deep+"2")
	if len(a) > maxSocketPath || a == b || a != socketFor(deep) {
		t.Errorf("got %s and %s", a, b)
	}
}

func TestReason(t *testing.T) {
	output := "2026 [ERROR] old\n2026 [Note] Starting MariaDB 10.11 as process 7\n2026 [ERROR] InnoDB: no\n2026 [ERROR] Aborting\n2026 [Note] bye\n"
	if got := reason([]byte(output)); got != "2026 [ERROR] InnoDB: no" {
		t.Errorf("got %q", got)
	}
	if got := reason([]byte("only\nthis\n")); got != "this" {
		t.Errorf("got %q", got)
	}
	if got := reason(nil); got != "" {
		t.Errorf("got %q", got)
	}
}
