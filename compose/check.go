package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// mounted is where the controller finds the configuration.
const mounted = "/etc/ringway.yaml"

// checkConfig has the controller's own code read the file, in the image that is
// about to run it: one that it refuses would take a running controller down.
func (s *stack) checkConfig(ctx context.Context) error {
	if _, err := os.Stat(s.config); err != nil { // the engine would make a directory of it
		return fmt.Errorf("configuration: %w; RINGWAY_CONFIG names another", err)
	}
	cmd := exec.CommandContext(ctx, "docker", "run", "--rm", "--network", "none", "--volume", s.config+":"+mounted+":ro", s.image,
		"controller", "--check", "--config", mounted)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	text := strings.ReplaceAll(strings.TrimSpace(string(out)), mounted, s.config)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 2 { // the configuration is wrong
		return fmt.Errorf("%s; nothing was started", strings.TrimPrefix(text, "ringway: "))
	}
	return fmt.Errorf("check %s: %w: %s", s.config, err, text)
}

// ended are the roles whose containers do not run, with the last lines of their logs.
func (s *stack) ended(ctx context.Context) (words []string) {
	out, err := output(ctx, "docker", "ps", "-a", "--filter", "label=com.docker.compose.project="+s.cluster,
		"--filter", "status=exited", "--filter", "status=restarting", "--format", `{{.ID}} {{.Label "com.docker.compose.service"}}`)
	if err != nil {
		return nil // it is only an explanation
	}
	for line := range strings.Lines(out) {
		id, role, _ := strings.Cut(strings.TrimSpace(line), " ")
		last, _ := exec.CommandContext(ctx, "docker", "logs", "--tail", "1", id).CombinedOutput()
		words = append(words, strings.TrimSpace(role+" ended: "+strings.TrimPrefix(string(last), "ringway: ")))
	}
	return words
}

// port is one that a role publishes at 127.0.0.1.
type port struct{ number, variable string }

// checkPorts refuses a port that another program has, before anything is
// started: the tool starts what it can and explains little.
func (s *stack) checkPorts(ctx context.Context) error {
	for _, p := range []port{{s.http, "RINGWAY_HTTP_PORT"}, {s.admin, "RINGWAY_ADMIN_PORT"}, {s.nats, "RINGWAY_NATS_PORT"}} {
		l, err := net.Listen("tcp", "127.0.0.1:"+p.number)
		if err == nil {
			_ = l.Close() // for the engine
			continue
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			continue // the engine may do what we may not
		}
		out, err := output(ctx, "docker", "ps", "--filter", "publish="+p.number, "--format", `{{.Label "com.docker.compose.project"}} {{.Names}}`)
		if err != nil {
			return fmt.Errorf("look who has port %s: %w", p.number, err)
		}
		if strings.HasPrefix(out, s.cluster+" ") || strings.Contains(out, "\n"+s.cluster+" ") {
			continue
		}
		who := "another program"
		if _, name, _ := strings.Cut(out, " "); name != "" {
			who = "container " + strings.ReplaceAll(name, "\n", ", ")
		}
		return fmt.Errorf("port %s of 127.0.0.1 is taken by %s, and nothing was started; choose another with %s", p.number, who, p.variable)
	}
	return nil
}
