package docker

import (
	"context"
	"fmt"

	"github.com/docker/docker/api/types/volume"

	"ringway/events"
)

// volumeName is what the engine calls a volume.
func (cfg Config) volumeName(id string) string { return cfg.Cluster + "-" + id }

// prepareVolume makes the volume that spec names, unless it is there. On an
// engine that several agents share, it belongs to the host that made it.
func (r *Runtime) prepareVolume(ctx context.Context, spec events.InstanceSpec) error {
	if spec.Volume == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.CallWithin)
	defer cancel()
	name := r.cfg.volumeName(spec.Volume)
	// The engine returns the one of that name if there is one.
	labels := map[string]string{
		LabelCluster: r.cfg.Cluster, LabelHost: r.cfg.Host, LabelVolume: spec.Volume, LabelService: spec.Service,
	}
	r.cfg.mark(labels)
	found, err := r.engine.VolumeCreate(ctx, volume.CreateOptions{Name: name, Labels: labels})
	if err != nil {
		return fmt.Errorf("make volume %s: %w", name, err)
	}
	if l := found.Labels; l[LabelCluster] != r.cfg.Cluster || l[LabelHost] != r.cfg.Host || l[LabelVolume] != spec.Volume || !r.cfg.sameCluster(l) {
		return fmt.Errorf("volume %s is there, and %s", name, r.cfg.strange(l))
	}
	return nil
}
