package config

import (
	"time"

	"github.com/goccy/go-yaml/ast"

	"ringway/events"
	"ringway/events/size"
)

// ServersConfig is what a person configures of the shard servers of a table. It is
// applied when it is new, to a table that exists, whoever created it.
type ServersConfig struct {
	Table      string
	ConfigHash string
	Given      time.Time
	Overlay    func(base events.ServerSpec) (events.ServerSpec, error)
}

// tableConfig is the part of a file about the shard servers of one table.
type tableConfig struct {
	name  string
	at    map[string]place
	apply func(*events.ServerSpec)
}

// readTables reads the part of a file that is about tables.
func (c *Config) readTables(d *decoder, n ast.Node) error {
	tables, err := d.mapping("tables", n)
	if err != nil {
		return err
	}
	for _, kv := range tables {
		if err := events.ValidIdentifier(kv.key); err != nil {
			return kv.at.errorf("table %w", err)
		}
		inside := d.again()
		read := func(d *decoder, s *events.ServerSpec) error {
			return d.mappingInto("table "+kv.key, "", kv.value, keys{
				"engine": (*engineName)(&s.Engine), "image": &s.Image, "env": &s.Env, "limits": limitKeys(&s.Limits),
			})
		}
		if err := read(inside, &events.ServerSpec{}); err != nil {
			return err
		}
		t := &tableConfig{name: kv.key, at: inside.at, apply: func(s *events.ServerSpec) { _ = read(d.again(), s) }} // it was read without a fault
		if _, err := t.overlay(events.ServerSpec{}); err != nil {
			return err
		}
		c.tables = append(c.tables, t)
	}
	return nil
}

// overlay is what was written; what was not is as by default, but for the engine:
// data stays with that which made it.
func (t *tableConfig) overlay(base events.ServerSpec) (events.ServerSpec, error) {
	next := events.ServerSpec{Engine: base.Engine}
	t.apply(&next)
	err := events.ValidServerSpec(next)
	if err == nil {
		err = size.CheckSpecSize(next)
	}
	if err != nil {
		return base, locate(t.at, err)
	}
	return next, nil
}
