package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"

	"ringway/events"
)

// noImage explains why there is none, for people.
func noImage(spec events.InstanceSpec) error {
	if spec.Kind == events.KindShard {
		return errors.New("no image: the table names none, and the agent was started without --shard-image")
	}
	return errors.New("no image: the service names none, and the agent was started without --image")
}

// prepareImage makes sure that the engine has the image, and returns the user of
// its containers: that of the image, unless it is root.
func (r *Runtime) prepareImage(ctx context.Context, spec events.InstanceSpec) (user string, err error) {
	name := r.cfg.image(spec)
	if name == "" {
		return "", noImage(spec)
	}
	user, err = r.userOf(ctx, name)
	if !cerrdefs.IsNotFound(err) {
		return user, err
	}
	if err := r.pull(ctx, name); err != nil {
		return "", fmt.Errorf("image %s is not on this host and cannot be pulled: %w", name, err)
	}
	return r.userOf(ctx, name)
}

func (r *Runtime) userOf(ctx context.Context, name string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.CallWithin)
	defer cancel()
	found, err := r.engine.ImageInspect(ctx, name)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", name, err)
	}
	if found.Config != nil {
		if u, _, _ := strings.Cut(found.Config.User, ":"); u != "" && u != "0" && u != "root" {
			return found.Config.User, nil
		}
	}
	return r.cfg.User, nil
}

// pull is done when the stream of its progress ends. The engine keeps the
// layers of a pull that was cut short.
func (r *Runtime) pull(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.PullWithin)
	defer cancel()
	progress, err := r.engine.ImagePull(ctx, name, image.PullOptions{})
	if err != nil {
		return err
	}
	defer progress.Close()
	for d := json.NewDecoder(progress); ; {
		var m struct {
			Error string `json:"error"`
		}
		switch err := d.Decode(&m); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case m.Error != "":
			return errors.New(m.Error)
		}
	}
}
