package docker

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/docker/go-connections/nat"

	"ringway/agent"
)

// instance is a container as the engine reports it.
func (cfg Config) instance(c container.InspectResponse) (agent.Instance, error) {
	spec, token, port, err := read(c.Config.Labels)
	if err != nil {
		return agent.Instance{}, err
	}
	started, err := time.Parse(time.RFC3339Nano, c.State.StartedAt)
	if err != nil {
		return agent.Instance{}, fmt.Errorf("start of container: %w", err)
	}
	in := agent.Instance{Spec: spec, Token: token, PID: c.State.Pid, Started: started, Running: c.State.Running}
	if !in.Running {
		in.PID, in.Detail = 0, exitDetail(c.State)
		return in, nil
	}
	in.Address = cfg.address(c, port)
	return in, nil
}

// address is where routers reach a container that runs, or empty while it is
// cut from its network.
func (cfg Config) address(c container.InspectResponse, port int) string {
	if cfg.Advertise != "" {
		for _, b := range c.NetworkSettings.Ports[nat.Port(strconv.Itoa(port)+"/tcp")] {
			if b.HostPort != "" {
				return net.JoinHostPort(cfg.Advertise, b.HostPort)
			}
		}
		return ""
	}
	for _, name := range []string{cfg.network(), c.HostConfig.NetworkMode.NetworkName()} {
		if e := c.NetworkSettings.Networks[name]; e != nil && e.IPAddress != "" {
			return net.JoinHostPort(e.IPAddress, strconv.Itoa(port))
		}
	}
	return ""
}

func exitDetail(s *container.State) string {
	switch {
	case s.OOMKilled:
		return "killed: it used more memory than its limit"
	case s.Error != "":
		return s.Error
	case s.ExitCode == 128+int(syscall.SIGKILL): // the engine may give the reason only later
		return fmt.Sprintf("exit status %d (signal: killed); perhaps by its limit of memory", s.ExitCode)
	case s.ExitCode > 128 && s.ExitCode < 128+65:
		return fmt.Sprintf("exit status %d (signal: %s)", s.ExitCode, syscall.Signal(s.ExitCode-128))
	}
	return fmt.Sprintf("exit status %d", s.ExitCode)
}

// endedWithError reports whether a container exited with an error of its own,
// which its log may explain.
var endedWithError = regexp.MustCompile(`^exit status [1-9][0-9]*$`).MatchString

// lastLogError is what an instance's log ends with, if that is an error.
func (r *Runtime) lastLogError(ctx context.Context, id string) string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	logs, err := r.engine.ContainerLogs(ctx, id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: "5"})
	if err != nil {
		return ""
	}
	defer logs.Close()
	var text bytes.Buffer
	_, _ = stdcopy.StdCopy(&text, &text, logs) // what could be read counts
	return agent.LastLogError(&text)
}
