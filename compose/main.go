// Command compose runs a whole cluster on containers of one Docker engine, or
// where none answers as child processes: it is what the verbs of Taskfile.yml
// call.
//
// Nothing of it is needed to run Ringway: it makes the image, calls Docker's
// own tools with compose.yaml, waits until all is ready, and reports it. It
// removes nothing but what bears the cluster's name.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const help = `usage: compose VERB

  up [FLAG…]  start everything, or what is missing, and wait until it serves;
              with flags, which are those of "ringway up", as child processes
  images      make the images
  down        stop and remove all containers; data is kept
  logs        follow the logs
  clean       the same as down, and remove data and images (asks; --yes does not)

RINGWAY_RUNTIME=docker or process decides what is used; else Docker if it answers.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "ringway:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		fmt.Print(help)
		return nil
	}
	root, err := findRoot()
	if err != nil {
		return err
	}
	verb, rest := args[0], args[1:]
	t := detectTools(ctx)
	s := newStack(root, t)
	switch verb {
	case "up":
		c, err := choose(os.Getenv("RINGWAY_RUNTIME"), rest, t)
		if err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, c.why)
		if !c.docker {
			return becomeUp(root, rest)
		}
		return s.up(ctx)
	case "images":
		if t.engine == "" {
			return fmt.Errorf("no image can be made: %s", t.missing)
		}
		return s.makeImages(ctx)
	case "down":
		err := s.down(ctx, false)
		s.reportProcesses()
		return err
	case "logs":
		return s.logs(ctx)
	case "clean":
		return s.clean(ctx, len(rest) > 0 && rest[0] == "--yes", os.Stdin)
	}
	return fmt.Errorf("unknown verb %q\n%s", verb, help)
}

// becomeUp replaces this process, so that keys and signals meet `ringway up`
// itself.
func becomeUp(root string, flags []string) error {
	binary := filepath.Join(root, "bin", "ringway")
	if err := syscall.Exec(binary, append([]string{binary, "up"}, flags...), os.Environ()); err != nil {
		return fmt.Errorf("run %s: %w", binary, err)
	}
	return nil
}

// findRoot is the directory of go.mod.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("no go.mod in %s or above; run this in a clone of Ringway", dir)
		}
	}
}

// tools are what this machine has.
type tools struct {
	engine  string   // version of the engine that answers; empty: none
	arch    string   // of the engine, as Go calls it
	compose []string // the command
	missing string   // why the engine cannot be used
}

// detectTools finds out what there is. An engine that does not answer soon is none.
func detectTools(ctx context.Context) tools {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := output(ctx, "docker", "version", "--format", "{{.Server.Version}} {{.Server.Arch}}")
	if err != nil {
		return tools{missing: "no Docker engine answers (" + firstLine(err) + ")"}
	}
	t := tools{}
	t.engine, t.arch, _ = strings.Cut(out, " ")
	if t.compose = findCompose(ctx); t.compose == nil {
		t.missing = "Docker " + t.engine + " answers, and neither `docker compose` nor docker-compose is there"
	}
	return t
}

// findCompose is the command, or nil. The old one is not asked: it takes seconds
// on a busy machine.
func findCompose(ctx context.Context) []string {
	if _, err := output(ctx, "docker", "compose", "version"); err == nil {
		return []string{"docker", "compose"}
	}
	if _, err := exec.LookPath("docker-compose"); err == nil {
		return []string{"docker-compose"}
	}
	return nil
}

func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("%s: %w", name, ctx.Err())
	case errors.As(err, &exit):
		err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args[:min(2, len(args))], " "), err, strings.TrimSpace(string(exit.Stderr)))
	}
	return strings.TrimSpace(string(out)), err
}

func firstLine(err error) string {
	first, _, _ := strings.Cut(err.Error(), "\n")
	return first
}

func lastLine(err error) string {
	text := strings.TrimSpace(err.Error())
	return text[strings.LastIndexByte(text, '\n')+1:]
}
