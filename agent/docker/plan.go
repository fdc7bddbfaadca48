package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/go-connections/nat"

	"ringway/agent"
	"ringway/events"
)

// Labels of every container that Ringway starts.
const (
	LabelCluster   = "io.ringway.cluster"
	LabelClusterID = "io.ringway.cluster-id" // the cluster may not be the only one of its name
	LabelService   = "io.ringway.service"
	LabelInstance  = "io.ringway.instance"
	LabelHost      = "io.ringway.host"
	LabelToken     = "io.ringway.token"     // of the assignment it was started for: incarnation/revision
	LabelSpec      = "io.ringway.spec"      // events.InstanceSpec as JSON
	LabelSpecHash  = "io.ringway.spec-hash" // SHA-256 of that, in short
	LabelPort      = "io.ringway.port"      // where the program listens, inside
	LabelVolume    = "io.ringway.volume"    // id; of volumes as well, as cluster and host are
)

// dataDir is where an instance finds its volume.
const dataDir = "/data"

// groupSignals is for the first process of a container (tini): it passes SIGTERM on to all of
// the group of the program, not to the program alone.
const groupSignals = "TINI_KILL_PROCESS_GROUP=1"

// planned is a container that is to be made.
type planned struct {
	config  *container.Config
	host    *container.HostConfig
	network *network.NetworkingConfig
}

func (cfg Config) image(spec events.InstanceSpec) string {
	switch {
	case spec.Image != "":
		return spec.Image
	case spec.Kind == events.KindShard:
		return cfg.ShardImage
	}
	return cfg.Image
}

// plan is the container of an instance.
func (cfg Config) plan(spec events.InstanceSpec, token events.Token, user string) (planned, error) {
	text, err := json.Marshal(spec)
	if err != nil {
		return planned{}, fmt.Errorf("describe: %w", err)
	}
	hash := sha256.Sum256(text)
	port := spec.Port
	if port == 0 {
		port = cfg.PortLow + rand.IntN(cfg.PortHigh-cfg.PortLow+1)
	}
	config := &container.Config{
		Image: cfg.image(spec), User: user, Hostname: spec.Name, Env: append(agent.Environment(spec, cfg.Host, port, dataDir), groupSignals),
		Labels: map[string]string{
			LabelCluster: cfg.Cluster, LabelService: spec.Service, LabelInstance: spec.Name, LabelHost: cfg.Host,
			LabelToken: token.Incarnation + "/" + strconv.FormatUint(token.Revision, 10), LabelPort: strconv.Itoa(port),
			LabelSpec: string(text), LabelSpecHash: hex.EncodeToString(hash[:8]),
		},
		// The agent probes; a second opinion would only cost.
		Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
	}
	switch {
	case len(spec.Command) > 0: // whole, as in a process: the image's entrypoint is not run
		argv := agent.Argv(spec, port)
		config.Entrypoint, config.Cmd = argv[:1], argv[1:]
	case spec.Kind == events.KindShard:
		config.Cmd = agent.ShardArguments(spec, "0.0.0.0:"+strconv.Itoa(port), dataDir, cfg.NATS)
	case spec.Image == "":
		config.Cmd = []string{"server", "--id", spec.Name, "--listen", ":" + strconv.Itoa(port)}
	}
	cfg.mark(config.Labels)
	host := cfg.restrictions(spec.Limits)
	if spec.Volume != "" {
		config.Labels[LabelVolume] = spec.Volume
		// The engine fills an empty volume with the image's directory, and so makes
		// the image's user its owner.
		host.Mounts = []mount.Mount{{Type: mount.TypeVolume, Source: cfg.volumeName(spec.Volume), Target: dataDir}}
	}
	if cfg.Advertise != "" {
		inside := nat.Port(strconv.Itoa(port) + "/tcp")
		config.ExposedPorts = nat.PortSet{inside: {}}
		host.PortBindings = nat.PortMap{inside: {{HostIP: cfg.Advertise}}} // the engine chooses the port
	}
	endpoint := &network.EndpointSettings{}
	if cfg.Network != "" {
		host.NetworkMode = container.NetworkMode(cfg.Network)
		endpoint.Aliases = []string{spec.Name}
	}
	return planned{config, host, &network.NetworkingConfig{
		EndpointsConfig: map[string]*network.EndpointSettings{cfg.network(): endpoint},
	}}, nil
}

// mark says which of the clusters of one name a thing is of.
func (cfg Config) mark(labels map[string]string) {
	if len(cfg.ClusterIDs) > 0 {
		labels[LabelClusterID] = cfg.ClusterIDs[0]
	}
}

// network is the name under which an instance's address is found.
func (cfg Config) network() string {
	if cfg.Network != "" {
		return cfg.Network
	}
	return "bridge"
}

// restrictions hold for every container; no configuration lifts them.
func (cfg Config) restrictions(l events.Limits) *container.HostConfig {
	if l.Memory == 0 {
		l.Memory = cfg.Limits.Memory
	}
	if l.CPUs == 0 {
		l.CPUs = cfg.Limits.CPUs
	}
	if l.PIDs == 0 {
		l.PIDs = cfg.Limits.PIDs
	}
	pids := int64(l.PIDs)
	tmpfs := fmt.Sprintf("rw,noexec,nosuid,nodev,mode=1777,size=%d", cfg.TmpSize)
	reaper := true
	return &container.HostConfig{
		Init:           &reaper,                                                        // the engine's own first process: it reaps orphans, and passes signals on
		RestartPolicy:  container.RestartPolicy{Name: container.RestartPolicyDisabled}, // one restarter: the controller
		ReadonlyRootfs: true,
		Tmpfs:          map[string]string{"/tmp": tmpfs, "/run": tmpfs},
		CapDrop:        []string{"ALL"},
		SecurityOpt:    []string{"no-new-privileges:true"},
		Resources: container.Resources{
			Memory: l.Memory, MemorySwap: l.Memory, PidsLimit: &pids,
			NanoCPUs: int64(1e9 * min(l.CPUs, float64(runtime.NumCPU()))), // the engine refuses more than there are
		},
		LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{ // one that we can read
			"max-size": strconv.FormatInt(max(1, cfg.MaxLog/2), 10), "max-file": "2",
		}},
	}
}

// read is the other way: the instance that plan described, from the labels.
func read(labels map[string]string) (spec events.InstanceSpec, token events.Token, port int, err error) {
	if err = json.Unmarshal([]byte(labels[LabelSpec]), &spec); err != nil {
		return spec, token, 0, fmt.Errorf("label %s: %w", LabelSpec, err)
	}
	if spec.Name != labels[LabelInstance] {
		return spec, token, 0, fmt.Errorf("label %s is of %q", LabelSpec, spec.Name)
	}
	if err = events.ValidName(spec.Name); err != nil {
		return spec, token, 0, err
	}
	if port, err = strconv.Atoi(labels[LabelPort]); err != nil {
		return spec, token, 0, fmt.Errorf("label %s: %w", LabelPort, err)
	}
	text := labels[LabelToken]
	at := strings.LastIndexByte(text, '/')
	if at < 0 {
		return spec, token, 0, fmt.Errorf("label %s: %q is no token", LabelToken, text)
	}
	token.Incarnation = text[:at]
	if token.Revision, err = strconv.ParseUint(text[at+1:], 10, 64); err != nil {
		return spec, token, 0, fmt.Errorf("label %s: %w", LabelToken, err)
	}
	return spec, token, port, nil
}
