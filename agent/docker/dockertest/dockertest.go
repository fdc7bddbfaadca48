// Package dockertest gives tests of containers a real engine, images of the Ringway
// under test, and clusters that leave nothing behind.
package dockertest

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	"go.uber.org/goleak"

	"ringway/agent/docker"
	"ringway/agent/runtimetest"
)

// Engine is the real one of this machine; nil if none answers.
var Engine *client.Client

// Image is made of the ringway under test and a shell, from nothing; shardImage is
// the same with a stand-in for the shard server.
var Image, shardImage string

// Run runs the tests of a package and returns the exit code. Nothing outlives them.
func Run(m *testing.M) int {
	code, err := runTests(m)
	if err == nil && code == 0 {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func runTests(m *testing.M) (int, error) {
	if os.Getenv("RINGWAY_RUNTIME") == "process" {
		return m.Run(), nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return 0, err
	}
	defer c.Close()
	asking, done := context.WithTimeout(ctx, 5*time.Second)
	defer done()
	if _, err := c.Info(asking); err != nil {
		return m.Run(), nil // Need tells
	}
	Image, shardImage = unique("ringway-test"), unique("ringway-shard-test")
	if err := makeImages(ctx, c); err != nil {
		return 0, fmt.Errorf("make the images of the tests: %w", err)
	}
	defer func() {
		for _, name := range []string{Image, shardImage} {
			if _, err := c.ImageRemove(context.Background(), name, image.RemoveOptions{Force: true}); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	}()
	Engine = c
	return m.Run(), nil
}

func unique(prefix string) string { return prefix + "-" + strings.ToLower(rand.Text()[:8]) }

// Need skips a test of containers where no engine answers; in CI that fails, unless
// RINGWAY_RUNTIME leaves them out.
func Need(t *testing.T) {
	t.Helper()
	if Engine != nil {
		return
	}
	if os.Getenv("RINGWAY_RUNTIME") == "process" {
		t.Skip("RINGWAY_RUNTIME=process leaves out containers")
	}
	if os.Getenv("CI") != "" {
		t.Fatal("no Docker engine answers")
	}
	t.Skip("no Docker engine answers")
}

func makeImages(ctx context.Context, c *client.Client) error {
	dir, err := os.MkdirTemp("", "ringway-image")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var archive bytes.Buffer
	files := tar.NewWriter(&archive)
	if err := files.WriteHeader(&tar.Header{Name: "data/", Typeflag: tar.TypeDir, Mode: 0o755, Uid: 65534, Gid: 65534}); err != nil {
		return err
	}
	for path, pkg := range map[string]string{"ringway": "ringway", "bin/sh": "ringway/agent/docker/testdata/tools"} {
		binary := filepath.Join(dir, filepath.Base(path))
		build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", binary, pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
		b, err := os.ReadFile(binary)
		if err != nil {
			return err
		}
		if err := files.WriteHeader(&tar.Header{Name: path, Mode: 0o755, Size: int64(len(b))}); err != nil {
			return err
		}
		if _, err := files.Write(b); err != nil {
			return err
		}
	}
	if err := files.Close(); err != nil {
		return err
	}
	for name, entrypoint := range map[string]string{Image: `ENTRYPOINT ["/ringway"]`, shardImage: `ENTRYPOINT ["/bin/sh"]`} {
		progress, err := c.ImageImport(ctx, image.ImportSource{Source: bytes.NewReader(archive.Bytes()), SourceName: "-"}, name,
			image.ImportOptions{Changes: []string{entrypoint}})
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, progress)
		if closed := progress.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Config is that of a cluster of its own; whatever bears its name is removed
// at the end.
func Config(t *testing.T) docker.Config {
	t.Helper()
	Need(t)
	cfg := docker.DefaultConfig()
	cfg.Cluster, cfg.Host, cfg.Image = unique("t"), "host-1", Image
	cfg.ShardImage, cfg.NATS = shardImage, runtimetest.NATS
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		left, err := Engine.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", docker.LabelCluster+"="+cfg.Cluster))})
		if err != nil {
			t.Error(err)
		}
		for _, c := range left {
			if err := Engine.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true}); err != nil {
				t.Error(err)
			}
		}
		volumes, err := Engine.VolumeList(ctx, volume.ListOptions{Filters: filters.NewArgs(filters.Arg("label", docker.LabelCluster+"="+cfg.Cluster))})
		if err != nil {
			t.Error(err)
		}
		for _, v := range volumes.Volumes {
			if err := Engine.VolumeRemove(ctx, v.Name, true); err != nil {
				t.Error(err)
			}
		}
	})
	return cfg
}

// Network makes a network that lives as long as the test.
func Network(t *testing.T) string {
	t.Helper()
	name := unique("ringway-test")
	made, err := Engine.NetworkCreate(t.Context(), name, network.CreateOptions{Driver: "bridge"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := Engine.NetworkRemove(ctx, made.ID); err != nil {
			t.Error(err)
		}
	})
	return name
}
