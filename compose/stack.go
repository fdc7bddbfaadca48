package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"ringway/events"
)

// How long everything may take to serve; a database server that is new makes
// its files first.
const (
	startWithin         = 2 * time.Minute
	startDatabaseWithin = 5 * time.Minute
)

// hosts are those of compose.yaml.
var hosts = []string{"host-1", "host-2", "host-3"}

// stack is one cluster on containers.
type stack struct {
	tools
	root              string
	cluster           string // also the project and the network
	image             string
	shardImage        string
	base              string // of shardImage; empty: officialBase if it can be had
	config            string
	http, admin, nats string // ports at 127.0.0.1
	out, err          io.Writer
}

func newStack(root string, t tools) *stack {
	get := func(name, otherwise string) string { return cmp.Or(os.Getenv(name), otherwise) }
	config := get("RINGWAY_CONFIG", filepath.Join(root, "compose", "ringway.yaml"))
	if absolute, err := filepath.Abs(config); err == nil {
		config = absolute // docker takes another for the name of a volume
	}
	return &stack{
		tools: t, root: root, out: os.Stdout, err: os.Stderr,
		cluster: get("RINGWAY_CLUSTER", "ringway"), image: get("RINGWAY_IMAGE", "ringway:dev"), shardImage: get("RINGWAY_SHARD_IMAGE", "ringway-shard:dev"),
		base:   os.Getenv("RINGWAY_SHARD_BASE"),
		config: config,
		http:   get("RINGWAY_HTTP_PORT", "5000"), admin: get("RINGWAY_ADMIN_PORT", "5001"), nats: get("RINGWAY_NATS_PORT", "4222"),
	}
}

// up starts what is missing, replaces what has changed, and waits.
func (s *stack) up(ctx context.Context) error {
	if err := s.checkPorts(ctx); err != nil {
		return err
	}
	if err := s.makeImage(ctx); err != nil {
		return err
	}
	if err := s.checkConfig(ctx); err != nil {
		return err
	}
	if err := s.makeShardImage(ctx); err != nil {
		return err
	}
	if err := s.composeQuietly(ctx, "up", "-d", "--remove-orphans"); err != nil {
		return fmt.Errorf("start the containers: %w\nthose that were started run on; `go tool task down` stops them", err)
	}
	if err := s.await(ctx); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "ready  http http://127.0.0.1:%s  admin http://127.0.0.1:%s  nats nats://127.0.0.1:%s\n", s.http, s.admin, s.nats)
	return nil
}

// down stops routers before instances, agents before what they would report as
// dead, and the bus last. Instances are started again by the next up.
func (s *stack) down(ctx context.Context, data bool) error {
	if s.engine == "" {
		fmt.Fprintln(s.err, "nothing to stop on containers:", s.missing)
		return nil
	}
	if s.missing != "" {
		return errors.New(s.missing)
	}
	fmt.Fprintln(s.err, "stopping cluster", s.cluster)
	for _, services := range [][]string{{"router"}, append([]string{"controller"}, hosts...)} {
		if err := s.composeQuietly(ctx, append([]string{"stop"}, services...)...); err != nil {
			return fmt.Errorf("stop %s: %w", services[0], err)
		}
	}
	if err := s.removeInstances(ctx); err != nil {
		return err
	}
	args := []string{"down", "--remove-orphans"}
	if data {
		args = append(args, "--volumes")
	}
	if err := s.composeQuietly(ctx, args...); err != nil {
		return fmt.Errorf("remove the containers: %w", err)
	}
	if data {
		return s.removeVolumes(ctx)
	}
	return nil
}

// removeInstances takes away what the agents started.
func (s *stack) removeInstances(ctx context.Context) error {
	out, err := output(ctx, "docker", "ps", "-aq", "--filter", "label=io.ringway.cluster="+s.cluster)
	if err != nil {
		return fmt.Errorf("find the instances: %w", err)
	}
	ids := strings.Fields(out)
	if len(ids) == 0 {
		return nil
	}
	// A database server has to write first; who has nothing to do ends at once.
	if _, err := output(ctx, "docker", append([]string{"stop", "-t", "45"}, ids...)...); err != nil {
		return fmt.Errorf("stop the instances: %w", err)
	}
	if _, err := output(ctx, "docker", append([]string{"rm", "-f", "-v"}, ids...)...); err != nil {
		return fmt.Errorf("remove the instances: %w", err)
	}
	return nil
}

// removeVolumes takes away the data of shard servers.
func (s *stack) removeVolumes(ctx context.Context) error {
	out, err := output(ctx, "docker", "volume", "ls", "-q", "--filter", "label=io.ringway.cluster="+s.cluster)
	if err != nil {
		return fmt.Errorf("find the volumes: %w", err)
	}
	for _, name := range strings.Fields(out) {
		if _, err := output(ctx, "docker", "volume", "rm", name); err != nil {
			return fmt.Errorf("remove volume %s: %w", name, err)
		}
	}
	return nil
}

// logs follows those of the containers, or of the child processes.
func (s *stack) logs(ctx context.Context) error {
	if s.missing == "" {
		if out, err := s.composeCommand(ctx, "ps", "-q").Output(); err == nil && len(out) > 0 {
			cmd := s.composeCommand(ctx, "logs", "-f", "--tail", "100")
			cmd.Stdout, cmd.Stderr = s.out, s.err
			return interrupted(ctx, cmd.Run())
		}
	}
	files, _ := filepath.Glob(filepath.Join(s.root, ".ringway", "logs", "*.log")) // the pattern is well-formed
	if len(files) == 0 {
		return errors.New("no logs: nothing runs on containers, and .ringway/logs is empty; begin with `go tool task up`")
	}
	cmd := exec.CommandContext(ctx, "tail", append([]string{"-n", "100", "-F"}, files...)...)
	cmd.Stdout, cmd.Stderr = s.out, s.err
	return interrupted(ctx, cmd.Run())
}

// interrupted takes ctrl-C for a good end.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (s *stack) composeCommand(ctx context.Context, args ...string) *exec.Cmd {
	argv := append([]string{}, s.compose...)
	argv = append(argv, "-p", s.cluster, "-f", filepath.Join(s.root, "compose", "compose.yaml"))
	argv = append(argv, args...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	digest := ""
	if b, err := os.ReadFile(s.config); err == nil {
		sum := sha256.Sum256(b)
		digest = hex.EncodeToString(sum[:8])
	}
	cmd.Env = append(os.Environ(),
		"RINGWAY_CLUSTER="+s.cluster, "RINGWAY_IMAGE="+s.image, "RINGWAY_SHARD_IMAGE="+s.shardImage, "RINGWAY_CONFIG="+s.config, "RINGWAY_CONFIG_DIGEST="+digest,
		"RINGWAY_HTTP_PORT="+s.http, "RINGWAY_ADMIN_PORT="+s.admin, "RINGWAY_NATS_PORT="+s.nats,
	)
	cmd.WaitDelay = time.Second
	return cmd
}

// composeQuietly shows the output of the tool only if it fails.
func (s *stack) composeQuietly(ctx context.Context, args ...string) error {
	out, err := s.composeCommand(ctx, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", strings.Join(s.compose, " "), strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// await polls until everything serves, and prints what it waits for.
func (s *stack) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startDatabaseWithin)
	defer cancel()
	begun := time.Now()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	shown, reported := "", map[string]bool{}
	for {
		missing, why := s.missingNow(ctx)
		if missing == "" {
			return nil
		}
		if missing != shown {
			fmt.Fprintln(s.err, "waiting for", missing)
			shown = missing
		}
		for _, words := range s.ended(ctx) {
			if !reported[words] {
				reported[words] = true
				fmt.Fprintln(s.err, words)
			}
		}
		late := time.Since(begun) > startWithin && !strings.HasPrefix(missing, "shard ")
		if late || errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return fmt.Errorf("not ready within %s: still waiting for %s%s; `go tool task logs` tells more", time.Since(begun).Round(time.Second), shown, why)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return ctx.Err()
			}
		}
	}
}

// missingNow is what does not serve yet, in a word, and why if that is known.
func (s *stack) missingNow(ctx context.Context) (what, why string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	st, err := s.status(ctx)
	if err != nil {
		return "a leader", " (" + lastLine(err) + ")"
	}
	if missing := missingIn(st); missing != "" {
		return missing, ""
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+s.admin+"/readyz", nil)
	if err != nil {
		return "the router", ""
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "the router", ""
	}
	_ = resp.Body.Close() // only the code counts
	if resp.StatusCode != http.StatusOK {
		return "the router", ""
	}
	return "", ""
}

// status asks the leader from within, where the bus is.
func (s *stack) status(ctx context.Context) (events.Status, error) {
	var st events.Status
	out, err := s.composeCommand(ctx, "exec", "-T", "controller", "/ringway", "status", "-o", "json", "--nats", "nats://bus:4222", "--timeout", "3s").Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return st, fmt.Errorf("ask the leader: %w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return st, fmt.Errorf("ask the leader: %w", err)
	}
	if err := json.Unmarshal(out, &st); err != nil {
		return st, fmt.Errorf("ask the leader: %w", err)
	}
	return st, nil
}
