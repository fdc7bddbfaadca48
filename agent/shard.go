package agent

import (
	"cmp"
	"fmt"

	"ringway/events"
)

// ValidateSpec refuses what no runtime can start.
func ValidateSpec(spec events.InstanceSpec) error {
	if err := events.ValidName(spec.Name); err != nil {
		return err
	}
	if spec.Kind != "" && spec.Kind != events.KindShard {
		return fmt.Errorf("kind %q is unknown to this agent; run a newer one", spec.Kind)
	}
	if spec.Volume != "" {
		if err := events.ValidName(spec.Volume); err != nil { // it becomes a part of a path
			return fmt.Errorf("volume: %w", err)
		}
	} else if spec.Kind == events.KindShard {
		return fmt.Errorf("a shard server needs a volume")
	}
	return nil
}

// ShardArguments are those of Ringway's binary that is to be the shard server spec.
func ShardArguments(spec events.InstanceSpec, listen, data, nats string) []string {
	return []string{
		"shard", "--id", spec.Name, "--listen", listen, "--data", data,
		"--engine", cmp.Or(spec.Engine, "auto"), "--nats", nats,
	}
}
