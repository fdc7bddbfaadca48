package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	// officialBase is what a machine with a registry gets.
	officialBase = "mysql:8.4"
	// shardBase is made here where that cannot be had. It is kept: data that one
	// server made may be none for another.
	shardBase = "ringway-shard-base:1"
	// labelBase says what is in shardBase.
	labelBase = "io.ringway.base"

	pullWithin = 10 * time.Minute
)

// base is one way to a database server in an image.
type base struct {
	name string // for people
	get  func(ctx context.Context) (image, what string, err error)
}

// errNotHere: this way is not open, and that is nothing to speak of.
var errNotHere = errors.New("not here")

// firstBase tries one after the other, and says why one cannot be had.
func firstBase(ctx context.Context, bases []base, progress io.Writer) (image, what string, err error) {
	for _, b := range bases {
		image, what, err = b.get(ctx)
		if err == nil || ctx.Err() != nil {
			return image, what, err
		}
		if !errors.Is(err, errNotHere) {
			fmt.Fprintf(progress, "%s cannot be had: %s\n", b.name, firstLine(err))
		}
	}
	return "", "", fmt.Errorf("no base for shard servers: %w", err)
}

func (s *stack) findShardBase(ctx context.Context) (image, what string, err error) {
	if out := s.base; out != "" {
		return out, out + " (RINGWAY_SHARD_BASE)", nil
	}
	return firstBase(ctx, []base{
		{shardBase, s.madeBase},
		{officialBase, s.hasOfficial},
		{officialBase, s.pullOfficial},
		{"MySQL of Debian unstable", func(ctx context.Context) (string, string, error) {
			return s.makeBase(ctx, "unstable", "mysql-server-core", "MySQL of Debian unstable")
		}},
		{"MariaDB of Debian 12", func(ctx context.Context) (string, string, error) {
			return s.makeBase(ctx, "bookworm", "mariadb-server-core", "MariaDB of Debian 12")
		}},
		{s.image, func(context.Context) (string, string, error) {
			return s.image, "SQLite only: no database server can be had", nil
		}},
	}, s.err)
}

func (s *stack) madeBase(ctx context.Context) (image, what string, err error) {
	out, err := output(ctx, "docker", "image", "inspect", "--format", `{{index .Config.Labels "`+labelBase+`"}}`, shardBase)
	if err != nil {
		return "", "", errNotHere
	}
	return shardBase, out, nil
}

func (s *stack) hasOfficial(ctx context.Context) (image, what string, err error) {
	if _, err := output(ctx, "docker", "image", "inspect", "--format", "{{.Id}}", officialBase); err != nil {
		return "", "", errNotHere
	}
	return officialBase, officialBase, nil
}

func (s *stack) pullOfficial(ctx context.Context) (image, what string, err error) {
	ctx, cancel := context.WithTimeout(ctx, pullWithin)
	defer cancel()
	fmt.Fprintln(s.err, "pulling", officialBase)
	if _, err := output(ctx, "docker", "pull", "-q", officialBase); err != nil {
		return "", "", err
	}
	return officialBase, officialBase, nil
}

// makeBase makes shardBase of packages of Debian, without a container or a
// registry: mmdebstrap unpacks them and what they depend on.
func (s *stack) makeBase(ctx context.Context, suite, server, what string) (image, w string, err error) {
	if err := haveMmdebstrap(ctx); err != nil {
		return "", "", err
	}
	dir, err := os.MkdirTemp("", "ringway-base-")
	if err != nil {
		return "", "", fmt.Errorf("make a base: %w", err)
	}
	defer os.RemoveAll(dir)
	fmt.Fprintf(s.err, "making %s with %s, once (about a minute)\n", shardBase, what)
	archive := filepath.Join(dir, "base.tar")
	if _, err := output(ctx, "mmdebstrap", "--quiet", "--variant=extract", "--architectures="+s.arch, "--include="+server,
		"--aptopt=Acquire::Check-Valid-Until \"false\"", // a mirror that stood still is good enough
		"--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", suite, archive); err != nil {
		return "", "", shortly(err)
	}
	if err := importSlim(ctx, archive, what); err != nil {
		return "", "", err
	}
	return shardBase, what, nil
}

// shortly is what mmdebstrap says of its end, without what went well.
func shortly(err error) error {
	for line := range strings.Lines(err.Error()) {
		if text, ok := strings.CutPrefix(line, "E: "); ok {
			return errors.New("mmdebstrap: " + strings.TrimSpace(text))
		}
	}
	return err
}

func importSlim(ctx context.Context, archive, what string) error {
	file, err := os.Open(archive)
	if err != nil {
		return fmt.Errorf("make a base: %w", err)
	}
	defer file.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := slim(w, file)
		if err != nil {
			cancel() // half an archive is no image
		}
		done <- errors.Join(err, w.CloseWithError(err))
	}()
	cmd := exec.CommandContext(ctx, "docker", "import", "--change", "LABEL "+labelBase+"=\""+what+"\"", "-", shardBase)
	cmd.Stdin, cmd.WaitDelay = r, time.Second
	out, err := cmd.CombinedOutput()
	_ = r.Close() // or slim would wait for a reader
	if slimmed := <-done; err == nil {
		err = slimmed
	}
	if err != nil {
		return fmt.Errorf("import %s: %w: %s", shardBase, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// haveMmdebstrap installs it where that is our business: as root on Debian.
func haveMmdebstrap(ctx context.Context) error {
	if _, err := exec.LookPath("mmdebstrap"); err == nil {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil || os.Getuid() != 0 {
		return errors.New("mmdebstrap is not there; on Debian and Ubuntu install mmdebstrap and debian-archive-keyring")
	}
	return aptGet(ctx, "mmdebstrap", "debian-archive-keyring")
}

// aptGet installs packages, and asks for news of them only if it has to.
func aptGet(ctx context.Context, packages ...string) error {
	install := func() error {
		cmd := exec.CommandContext(ctx, "apt-get", append([]string{"install", "-y", "-qq", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120"}, packages...)...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("install %s: %w: %s", strings.Join(packages, " "), err, strings.TrimSpace(string(out)))
		}
		return nil
	}
	if install() == nil {
		return nil
	}
	if _, err := output(ctx, "apt-get", "update", "-qq"); err != nil {
		return err
	}
	return install()
}
