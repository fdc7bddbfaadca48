package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"ringway/internal/statedir"
)

// makeImages makes that of all roles and that of shard servers. The same
// source gives the same images, so that nothing is replaced for it.
func (s *stack) makeImages(ctx context.Context) error {
	if err := s.makeImage(ctx); err != nil {
		return err
	}
	return s.makeShardImage(ctx)
}

func (s *stack) makeImage(ctx context.Context) error {
	dir := s.imageDir()
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o755); err != nil {
		return fmt.Errorf("make the image: %w", err)
	}
	unlock, err := s.lockImageDir(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	fmt.Fprintln(s.err, "making the image", s.image)
	flags := "-s -w"
	if v := os.Getenv("RINGWAY_VERSION"); v != "" {
		flags += " -X main.version=" + v
	}
	build := exec.CommandContext(ctx, "go", "build", "-ldflags", flags, "-o", filepath.Join(dir, "ringway"), ".")
	build.Dir = s.root
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+s.arch)
	build.Stdout, build.Stderr = s.err, s.err
	if err := build.Run(); err != nil {
		return fmt.Errorf("build ringway for the image: %w", err)
	}
	return s.build(ctx, s.image, "Dockerfile")
}

// officialBase has the database server of shard servers.
const officialBase = "mysql:8.4"

// makeShardImage takes the binary that makeImage has left.
func (s *stack) makeShardImage(ctx context.Context) error {
	base := s.findShardBase(ctx)
	unlock, err := s.lockImageDir(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	fmt.Fprintf(s.err, "making the image %s with %s\n", s.shardImage, base)
	if base == s.image {
		if _, err := output(ctx, "docker", "tag", s.image, s.shardImage); err != nil {
			return fmt.Errorf("make the image %s: %w", s.shardImage, err)
		}
		return nil
	}
	return s.build(ctx, s.shardImage, "shard.Dockerfile", "--build-arg", "BASE="+base)
}

// findShardBase is the configured base, else officialBase if the engine has it
// or can pull it. Without either, shard servers run Ringway's own image.
func (s *stack) findShardBase(ctx context.Context) string {
	if s.base != "" {
		return s.base
	}
	if _, err := output(ctx, "docker", "image", "inspect", "--format", "{{.Id}}", officialBase); err == nil {
		return officialBase
	}
	fmt.Fprintln(s.err, "pulling", officialBase)
	pulling, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	_, err := output(pulling, "docker", "pull", "-q", officialBase)
	if err == nil {
		return officialBase
	}
	fmt.Fprintf(s.err, "%s cannot be had: %s\nSQLite only: RINGWAY_SHARD_BASE names another base, and e2e/setup/base.sh makes one\n", officialBase, firstLine(err))
	return s.image
}

func (s *stack) imageDir() string { return filepath.Join(s.root, "bin", "image") }

// lockImageDir waits until no other process makes an image.
func (s *stack) lockImageDir(ctx context.Context) (unlock func(), err error) {
	lock, err := statedir.Take(ctx, filepath.Dir(s.imageDir()), "image.lock", 10*time.Minute)
	if err != nil {
		return nil, fmt.Errorf("make the image: %w", err)
	}
	return func() { _ = lock.Close() }, nil // the end of the process frees it too
}

func (s *stack) build(ctx context.Context, image, file string, flags ...string) error {
	args := append([]string{"build", "-q", "-t", image, "-f", filepath.Join(s.root, "compose", file)}, flags...)
	if _, err := output(ctx, "docker", append(args, s.imageDir())...); err != nil {
		return fmt.Errorf("make the image %s: %w", image, err)
	}
	return nil
}
