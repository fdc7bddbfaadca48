// Package docker runs instances as containers of a Docker engine.
//
// The engine is the truth: all that a successor needs stands in the labels of
// the containers, and nothing on disk. A runtime sees only containers that bear
// the labels of its cluster and host, so that several agents may share an
// engine. Containers are kept when they end, until Forget. They get no
// privilege, no capability, no mount of the host, and no file system to write
// to but a small /tmp and /run, and the volume of a shard server at /data;
// Docker never restarts them. Volumes stay until a person removes them.
//
// Every call of the engine has a deadline. An engine that is away or hangs is
// an error of the call; Run goes on, and reports what happened meanwhile when the
// engine is back.
package docker

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"

	"ringway/agent"
	"ringway/events"
	"ringway/internal/notify"
)

// Config is where and how instances run.
type Config struct {
	Endpoint   string   // of the engine, as in DOCKER_HOST; empty: from the environment
	Cluster    string   // name of the cluster; containers are called CLUSTER-INSTANCE
	ClusterIDs []string // ids that the cluster has had, its present one first; without one nothing is told apart
	Host       string   // name of this host
	Image      string   // of sample replicas, and of services that name none
	ShardImage string   // image of shard servers: Ringway and a MySQL, /data owned by its user
	NATS       string   // URL of the bus as containers reach it, for shard servers
	Network    string   // that routers share; empty: the engine's default bridge
	Advertise  string   // IP of this host; instances are reached at a port of it. Empty: at their own address

	PortLow  int           // a program that uses PORT listens on PortLow..PortHigh,
	PortHigh int           // at random: the engine gives the IP of a dead instance to the next
	Limits   events.Limits // of instances that have none of their own
	TmpSize  int64         // bytes in /tmp and in /run, each
	User     string        // uid:gid in images that name no user
	MaxLog   int64         // bytes of one instance's log before its older half is dropped

	CallWithin  time.Duration // for the engine to answer a call
	StartWithin time.Duration // for the engine to make a container, or to start one: its disk may be busy
	PullWithin  time.Duration // for the engine to get an image that it does not have
	Reopen      time.Duration // age at which the stream of events is opened again, in case it fell silent
	Overlap     time.Duration // by which it begins before the last event
	RetryAfter  time.Duration // before a lost engine is tried again
}

// DefaultConfig fits programs of moderate size. Cluster, Host and Image are missing.
func DefaultConfig() Config {
	return Config{
		PortLow: 20000, PortHigh: 29999,
		Limits:  events.Limits{Memory: 512 << 20, CPUs: 1, PIDs: 256},
		TmpSize: 64 << 20, User: "65534:65534", MaxLog: 16 << 20,
		CallWithin: 10 * time.Second, StartWithin: 25 * time.Second, PullWithin: 10 * time.Minute,
		Reopen: time.Minute, Overlap: 2 * time.Second, RetryAfter: time.Second,
	}
}

// Runtime implements agent.Runtime.
type Runtime struct {
	cfg         Config
	engine      *client.Client
	log         *slog.Logger
	negotiating chan struct{} // a place in it: somebody reads the engine's version
	negotiated  atomic.Bool   // the version is agreed on

	mu           sync.Mutex
	observations map[string]*observation // by id of the container
	names        map[string]bool         // that Start is busy with
	strange      map[string]bool         // by id of the container: it was told that it is not ours
	deaths       []agent.Instance        // for Run to report
	wake         notify.Signal           // there are deaths
}

// observation is a container as it was seen last. Labels have no pids, and the
// engine forgets them when a container ends.
type observation struct {
	in       agent.Instance
	starting bool
	ended    bool // while it was starting
}

var _ agent.Runtime = (*Runtime)(nil)

// New does not talk to the engine. Close it after Run.
func New(cfg Config, log *slog.Logger) (*Runtime, error) {
	for _, name := range []string{cfg.Cluster, cfg.Host} {
		if err := events.ValidName(name); err != nil {
			return nil, fmt.Errorf("docker: %w", err)
		}
	}
	if cfg.Advertise != "" && net.ParseIP(cfg.Advertise) == nil {
		return nil, fmt.Errorf("docker: advertise %q: give an IP address of this host", cfg.Advertise)
	}
	options := []client.Opt{client.FromEnv}
	if cfg.Endpoint != "" {
		options = append(options, client.WithHost(cfg.Endpoint))
	}
	engine, err := client.NewClientWithOpts(options...)
	if err != nil {
		return nil, fmt.Errorf("docker: %w", err)
	}
	return &Runtime{
		cfg: cfg, engine: engine, log: log,
		observations: map[string]*observation{}, names: map[string]bool{}, strange: map[string]bool{}, wake: notify.NewSignal(), negotiating: make(chan struct{}, 1),
	}, nil
}

// Close drops the connections. Instances run on.
func (r *Runtime) Close() error { return r.engine.Close() }

// negotiate agrees with the engine on a version of its API, once. The client would do
// that by itself, but lets its calls race with each other then.
func (r *Runtime) negotiate(ctx context.Context) error {
	if r.negotiated.Load() {
		return nil
	}
	select {
	case r.negotiating <- struct{}{}:
		defer func() { <-r.negotiating }()
	case <-ctx.Done():
		return fmt.Errorf("reach the engine: %w", ctx.Err())
	}
	if r.negotiated.Load() {
		return nil
	}
	pong, err := r.engine.Ping(ctx)
	if err != nil {
		return fmt.Errorf("reach the engine: %w", err)
	}
	r.engine.NegotiateAPIVersionPing(pong)
	r.negotiated.Store(true)
	return nil
}

func (r *Runtime) negotiateSoon(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.CallWithin)
	defer cancel()
	return r.negotiate(ctx)
}

// Start implements agent.Runtime.
func (r *Runtime) Start(ctx context.Context, spec events.InstanceSpec, token events.Token) (agent.Instance, error) {
	fail := func(err error) (agent.Instance, error) {
		return agent.Instance{}, fmt.Errorf("start %q: %w", spec.Name, err)
	}
	if err := agent.ValidateSpec(spec); err != nil {
		return fail(err)
	}
	if !r.reserve(spec.Name) {
		return fail(agent.ErrExists)
	}
	defer r.release(spec.Name)
	if err := r.negotiateSoon(ctx); err != nil {
		return fail(err)
	}
	user, err := r.prepareImage(ctx, spec)
	if err != nil {
		return fail(err)
	}
	if err := r.prepareVolume(ctx, spec); err != nil {
		return fail(err)
	}
	id, err := r.create(ctx, spec, token, user)
	if err != nil {
		return fail(err)
	}
	r.startBegins(id)
	in, err := r.launch(ctx, id)
	if err != nil {
		r.discard(ctx, id)
		return fail(err)
	}
	r.startEnded(ctx, id, in)
	return in, nil
}

// create makes the container. What an agent left that died between create and
// start is in the way under the same name, and is replaced.
func (r *Runtime) create(ctx context.Context, spec events.InstanceSpec, token events.Token, user string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.StartWithin)
	defer cancel()
	for again := false; ; again = true {
		// By its labels: somebody may have given it another name.
		there, ok, err := r.find(ctx, spec.Name)
		switch {
		case err != nil:
			return "", fmt.Errorf("create container: %w", err)
		case ok && there.State.Status != container.StateCreated:
			return "", agent.ErrExists
		case ok:
			if err := r.engine.ContainerRemove(ctx, there.ID, container.RemoveOptions{RemoveVolumes: true}); err != nil {
				return "", fmt.Errorf("remove what was never started: %w", err)
			}
		}
		c, err := r.cfg.plan(spec, token, user)
		if err != nil {
			return "", err
		}
		made, err := r.engine.ContainerCreate(ctx, c.config, c.host, c.network, nil, r.cfg.containerName(spec.Name))
		if err == nil {
			return made.ID, nil
		}
		if !cerrdefs.IsConflict(err) || again {
			return "", fmt.Errorf("create container: %w", err)
		}
		there, err = r.engine.ContainerInspect(ctx, r.cfg.containerName(spec.Name))
		if err == nil && !r.cfg.ours(there.Config.Labels) {
			return "", fmt.Errorf("container name %s: %w, and it is %s", r.cfg.containerName(spec.Name), agent.ErrExists, r.cfg.strange(there.Config.Labels))
		}
		if err != nil && !cerrdefs.IsNotFound(err) {
			return "", fmt.Errorf("create container: %w", err)
		}
	}
}

func (r *Runtime) launch(ctx context.Context, id string) (agent.Instance, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.StartWithin)
	defer cancel()
	if err := r.engine.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return agent.Instance{}, fmt.Errorf("start container: %w", err)
	}
	found, err := r.engine.ContainerInspect(ctx, id)
	if err != nil {
		return agent.Instance{}, fmt.Errorf("inspect container: %w", err)
	}
	return r.cfg.instance(found)
}

// discard makes it true that nothing runs after an error. If the engine does
// not answer here either, List will show what came of it.
func (r *Runtime) discard(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.CallWithin)
	defer cancel()
	err := r.engine.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !cerrdefs.IsNotFound(err) {
		r.log.Warn("cannot remove a container that was not started", events.KeyContainer, id, events.KeyError, err)
	}
	r.mu.Lock()
	delete(r.observations, id)
	r.mu.Unlock()
}

// Stop implements agent.Runtime.
func (r *Runtime) Stop(ctx context.Context, name string, grace time.Duration) error {
	seconds := int((grace + time.Second - 1) / time.Second) // the engine counts whole ones
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second+r.cfg.CallWithin)
	defer cancel()
	found, ok, err := r.find(ctx, name)
	if err == nil && ok {
		err = r.engine.ContainerStop(ctx, found.ID, container.StopOptions{Timeout: &seconds})
	}
	if err != nil && !cerrdefs.IsNotFound(err) {
		return fmt.Errorf("stop %q: %w", name, err)
	}
	return nil
}

// List implements agent.Runtime.
func (r *Runtime) List(ctx context.Context) ([]agent.Instance, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.CallWithin)
	defer cancel()
	if err := r.negotiate(ctx); err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	there, err := r.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: r.cfg.filter()})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var all []agent.Instance
	alive := map[string]bool{}
	for _, c := range there {
		if !r.cfg.ours(c.Labels) {
			r.leaveAlone(c.ID, c.Labels)
			continue
		}
		alive[c.ID] = true
		if c.State == container.StateCreated {
			continue // being started, or left behind by an agent that died then
		}
		found, err := r.engine.ContainerInspect(ctx, c.ID)
		if cerrdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list containers: %w", err)
		}
		in, err := r.cfg.instance(found)
		if err != nil {
			r.log.Warn("a container bears our labels and is none of ours; remove it by hand", events.KeyContainer, c.ID, events.KeyError, err)
			continue
		}
		if in, ok := r.observe(ctx, found.ID, in); ok {
			all = append(all, in)
		}
	}
	r.forgetExcept(alive)
	slices.SortFunc(all, func(a, b agent.Instance) int { return strings.Compare(a.Spec.Name, b.Spec.Name) })
	return all, nil
}

// Forget implements agent.Runtime.
func (r *Runtime) Forget(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.CallWithin)
	defer cancel()
	fail := func(err error) error { return fmt.Errorf("forget %q: %w", name, err) }
	for {
		found, ok, err := r.find(ctx, name)
		if err != nil {
			return fail(err)
		}
		if !ok {
			return nil
		}
		if found.State.Running {
			return fail(agent.ErrRunning)
		}
		err = r.engine.ContainerRemove(ctx, found.ID, container.RemoveOptions{RemoveVolumes: true})
		switch {
		case err == nil || cerrdefs.IsNotFound(err):
			r.mu.Lock()
			delete(r.observations, found.ID)
			r.mu.Unlock()
			return nil
		case !cerrdefs.IsConflict(err):
			return fail(err)
		}
		// Somebody else removes it, or has started it: look again.
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return fail(err)
		}
	}
}

// find looks up an instance; ok is false if this host has none of that name.
func (r *Runtime) find(ctx context.Context, name string) (found container.InspectResponse, ok bool, err error) {
	if events.ValidName(name) != nil {
		return found, false, nil
	}
	if err := r.negotiate(ctx); err != nil {
		return found, false, err
	}
	f := r.cfg.filter()
	f.Add("label", LabelInstance+"="+name)
	all, err := r.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: f})
	if err != nil {
		return found, false, err
	}
	all = slices.DeleteFunc(all, func(c container.Summary) bool { return !r.cfg.ours(c.Labels) })
	for _, c := range all {
		found, err = r.engine.ContainerInspect(ctx, c.ID)
		if err == nil || !cerrdefs.IsNotFound(err) {
			return found, err == nil, err
		}
	}
	return found, false, nil
}

func (cfg Config) containerName(name string) string { return cfg.Cluster + "-" + name }

// ours: of this host of this cluster. What was started before there were ids of
// clusters is told by the names alone.
func (cfg Config) ours(labels map[string]string) bool {
	return labels[LabelCluster] == cfg.Cluster && labels[LabelHost] == cfg.Host && labels[LabelInstance] != "" && cfg.sameCluster(labels)
}

func (cfg Config) sameCluster(labels map[string]string) bool {
	id := labels[LabelClusterID]
	return id == "" || len(cfg.ClusterIDs) == 0 || slices.Contains(cfg.ClusterIDs, id)
}

// strange says why a container or a volume is not ours.
func (cfg Config) strange(labels map[string]string) string {
	if labels[LabelCluster] == cfg.Cluster && !cfg.sameCluster(labels) {
		return fmt.Sprintf("of another cluster of the name %s (id %s, ours is %s); give one of the two another --cluster", cfg.Cluster, labels[LabelClusterID], cfg.ClusterIDs[0])
	}
	return fmt.Sprintf("not of cluster %s on host %s", cfg.Cluster, cfg.Host)
}

// leaveAlone tells once of a container that bears our names and is not ours.
func (r *Runtime) leaveAlone(id string, labels map[string]string) {
	r.mu.Lock()
	told := r.strange[id]
	r.strange[id] = true
	r.mu.Unlock()
	if !told {
		r.log.Error("a container is left alone", events.KeyContainer, id, events.KeyCause, "it is "+r.cfg.strange(labels))
	}
}

func (cfg Config) filter() filters.Args {
	return filters.NewArgs(filters.Arg("label", LabelCluster+"="+cfg.Cluster), filters.Arg("label", LabelHost+"="+cfg.Host))
}

func (r *Runtime) reserve(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.names[name] {
		return false
	}
	r.names[name] = true
	return true
}

func (r *Runtime) release(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.names, name)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
