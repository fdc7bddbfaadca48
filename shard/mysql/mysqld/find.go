package mysqld

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Products.
const (
	MariaDB = "MariaDB"
	MySQL   = "MySQL"
)

// ErrNoServer: there is no server program on this machine.
var ErrNoServer = errors.New("no mysqld or mariadbd on this machine; on Debian and Ubuntu install mariadb-server-core")

// Server is an installed server program.
type Server struct {
	Path    string
	Product string
	Version string
}

func (s Server) String() string { return s.Product + " " + s.Version }

// EnvServer names the server program to use in place of what Find finds.
const EnvServer = "RINGWAY_MYSQLD"

// Find takes the server that EnvServer names, or looks for one in PATH and
// where distributions put it, outside of most people's PATH.
func Find(ctx context.Context) (Server, error) {
	if path := os.Getenv(EnvServer); path != "" {
		return Identify(ctx, path)
	}
	for _, name := range []string{"mariadbd", "mysqld"} {
		for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/usr/libexec", "/usr/local/sbin", "/usr/local/mysql/bin", "/opt/homebrew/bin") {
			path := filepath.Join(dir, name)
			if info, err := os.Stat(path); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
				return Identify(ctx, path)
			}
		}
	}
	return Server{}, ErrNoServer
}

var versionLine = regexp.MustCompile(`\bVer (\d+\.\d+\.\d+)(-MariaDB)?`)

// Identify asks a server program what it is.
func Identify(ctx context.Context, path string) (Server, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--no-defaults", "--version").CombinedOutput()
	if err != nil {
		return Server{}, fmt.Errorf("ask %s for its version: %w: %.200s", path, err, out)
	}
	return identify(path, string(out))
}

func identify(path, output string) (Server, error) {
	found := versionLine.FindStringSubmatch(output)
	if found == nil {
		return Server{}, fmt.Errorf("%s is no server that we know: it says %.200q", path, strings.TrimSpace(output))
	}
	s := Server{Path: path, Product: MySQL, Version: found[1]}
	if found[2] != "" {
		s.Product = MariaDB
	}
	return s, nil
}
