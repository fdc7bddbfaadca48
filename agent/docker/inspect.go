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

// instance is what the engine says of a container.
func (r *Runtime) instance(c container.InspectResponse) (agent.Instance, error) {
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
	in.Address = r.address(c, port)
	return in, nil
}

// address is where routers reach a container that runs, or empty while it is
// cut from its network.
func (r *Runtime) address(c container.InspectResponse, port int) string {
	if r.cfg.Advertise != "" {
		for _, b := range c.NetworkSettings.Ports[nat.Port(strconv.Itoa(port)+"/tcp")] {
			if b.HostPort != "" {
				return net.JoinHostPort(r.cfg.Advertise, b.HostPort)
			}
		}
		return ""
	}
	for _, name := range []string{r.network(), c.HostConfig.NetworkMode.NetworkName()} {
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
	case s.ExitCode == 128+int(syscall.SIGKILL): // the engine may say why only later
		return fmt.Sprintf("exit status %d (signal: killed); perhaps by its limit of memory", s.ExitCode)
	case s.ExitCode > 128 && s.ExitCode < 128+65:
		return fmt.Sprintf("exit status %d (signal: %s)", s.ExitCode, syscall.Signal(s.ExitCode-128))
	}
	return fmt.Sprintf("exit status %d", s.ExitCode)
}

// endedByItself tells from how a container ended whether it did so with an error
// of its own, of which it may have spoken.
var endedWithError = regexp.MustCompile(`^exit status [1-9][0-9]*$`).MatchString

// lastWords is what an instance's log ends with, if that is an error.
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
