package volume

import (
	"context"
	"path/filepath"

	"ringway/shard/mysql/mysqld"
)

// running is a database server of our own.
type running struct {
	supervisor *mysqld.Supervisor
	name       string
	cancel     context.CancelFunc
	ended      context.Context // ends when nobody keeps the server running any more
	err        error           // valid after ended
}

// start begins to keep a server running, until stop.
func (v *Volume) start(ctx context.Context) (*running, error) {
	found, err := mysqld.Find(ctx)
	if err != nil {
		return nil, err
	}
	supervisor, err := mysqld.New(mysqld.DefaultConfig(filepath.Join(v.cfg.Dir, MySQL)), found, v.log)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // it outlives this call, and what uses it
	ended, end := context.WithCancel(context.WithoutCancel(ctx))
	r := &running{supervisor: supervisor, name: found.String(), cancel: cancel, ended: ended}
	go func() {
		defer end()
		r.err = supervisor.Run(ctx)
	}()
	return r, nil
}

// ready returns when the server answers, or will not.
func (r *running) ready(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.ended, cancel)()
	return r.supervisor.Ready(ctx)
}

// stop shuts the server down.
func (r *running) stop() error {
	r.cancel()
	<-r.ended.Done()
	return r.err
}
