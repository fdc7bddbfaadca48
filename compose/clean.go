package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// locks are the lock files of a data directory: all of
// `ringway up`, or a role by itself, or a shard server that outlived its agent.
var locks = []string{"LOCK", "bus/lock", "hosts/*/agent.lock", "hosts/*/volumes/*/lock"}

// errInUse is a data directory in which somebody works.
var errInUse = errors.New("a cluster on child processes runs")

// takeData takes every lock of a data directory until release, or returns an
// error that names a holder.
func takeData(dir string) (release func(), err error) {
	var held []*os.File
	release = func() {
		for _, f := range held {
			_ = f.Close() // nothing was written
		}
	}
	for _, pattern := range locks {
		names, _ := filepath.Glob(filepath.Join(dir, pattern)) // the patterns are well-formed
		for _, name := range names {
			f, err := os.Open(name)
			if err != nil {
				release()
				return nil, fmt.Errorf("look who uses %s: %w", dir, err)
			}
			held = append(held, f)
			err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
			if errors.Is(err, syscall.EWOULDBLOCK) {
				err = fmt.Errorf("%w on %s: %s", errInUse, dir, howToStop(f))
			}
			if err != nil {
				release()
				return nil, err
			}
		}
	}
	return release, nil
}

func howToStop(lock *os.File) string {
	b, _ := io.ReadAll(lock) // a bus writes nothing into its own
	pid, _, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	n, err := strconv.Atoi(pid)
	switch {
	case err != nil:
		return "see who has " + lock.Name()
	case errors.Is(syscall.Kill(n, 0), syscall.ESRCH):
		return fmt.Sprintf("what process %s left has not ended yet", pid)
	}
	return fmt.Sprintf("ctrl-C in its terminal or `kill %s` stops it", pid)
}

// clean removes what up made, on containers and as child processes, unless
// somebody uses it.
func (s *stack) clean(ctx context.Context, yes bool, answer io.Reader) error {
	free, err := takeData(s.data())
	if err != nil {
		return fmt.Errorf("nothing was removed: %w", err)
	}
	free() // a person may take long to answer
	if !yes && !s.confirmed(answer) {
		return errors.New("nothing was removed")
	}
	free, err = takeData(s.data())
	if err != nil {
		return fmt.Errorf("nothing was removed: %w", err)
	}
	err = s.down(ctx, true)
	free() // and take it again, with what is new since
	if err != nil {
		return err
	}
	if s.engine != "" {
		for _, image := range s.images() {
			_, _ = output(ctx, "docker", "image", "rm", image) // there may be none
		}
	}
	if free, err = takeData(s.data()); err != nil {
		return fmt.Errorf("%s was not removed: %w", s.data(), err)
	}
	defer free()
	return removeWhole(s.data())
}

// removeWhole takes a directory away at once: who starts meanwhile makes a new
// one and does not lose parts of it.
func removeWhole(dir string) error {
	aside := dir + ".removed"
	if err := os.RemoveAll(aside); err != nil {
		return err
	}
	if err := os.Rename(dir, aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.RemoveAll(aside)
}

func (s *stack) confirmed(answer io.Reader) bool {
	what := fmt.Sprintf("all data of cluster %s (%s)", s.cluster, s.data())
	if s.engine != "" {
		what = fmt.Sprintf("all data of cluster %s (its volumes, and %s) and the images %s", s.cluster, s.data(), strings.Join(s.images(), ", "))
	}
	fmt.Fprintf(s.err, "This removes %s. Type yes: ", what)
	line, _ := bufio.NewReader(answer).ReadString('\n')
	return strings.TrimSpace(line) == "yes"
}

// data is where child processes keep theirs, unless --data names another place.
func (s *stack) data() string { return filepath.Join(s.root, ".ringway") }

// images are those that up makes.
func (s *stack) images() []string { return []string{s.shardImage, s.image} }

// reportProcesses warns that stopping containers did not stop those.
func (s *stack) reportProcesses() {
	free, err := takeData(s.data())
	if err == nil {
		free()
		return
	}
	fmt.Fprintln(s.err, "left as it is:", err)
}
