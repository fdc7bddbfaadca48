package config

import (
	"github.com/goccy/go-yaml/ast"

	"ringway/events"
)

// ServersConfig is what a person configures of the shard servers of a table. It is
// applied when it is new, to a table that exists, whoever created it.
type ServersConfig struct {
	Table      string
	ConfigHash string
	Overlay    func(base events.ServerSpec) (events.ServerSpec, error)
}

// tableConfig is the part of a file about the shard servers of one table.
type tableConfig struct {
	name     string
	engine   string  // empty: it was not written
	settings *Config // the rest, which is written as for a service
}

// tables reads the part of a file that is about tables.
func (d *decoder) tables(n ast.Node) error {
	tables, err := d.mapping("tables", n)
	if err != nil {
		return err
	}
	for _, kv := range tables {
		if err := events.ValidIdentifier(kv.key); err != nil {
			return kv.at.errorf("table %w", err)
		}
		fields, err := d.mapping("table "+kv.key, kv.value)
		if err != nil {
			return err
		}
		t := &tableConfig{name: kv.key, settings: &Config{at: map[string]place{}}}
		inside := &decoder{file: d.file, c: t.settings}
		if err := inside.decode("", fields, map[string]field{
			"engine": t.readEngine, "image": serviceFields["image"], "env": serviceFields["env"], "limits": serviceFields["limits"],
		}); err != nil {
			return err
		}
		if _, err := t.overlay(events.ServerSpec{}); err != nil {
			return err
		}
		d.c.tables = append(d.c.tables, t)
	}
	return nil
}

func (t *tableConfig) readEngine(d *decoder, key string, n ast.Node) (func(*spec), error) {
	engine, _ := stringOf(n)
	if CheckEngine(engine) != nil {
		return nil, d.wrong(key, n, "auto, mysql or sqlite")
	}
	t.engine = engine
	return func(*spec) {}, nil
}

// overlay puts what was written over base.
func (t *tableConfig) overlay(base events.ServerSpec) (events.ServerSpec, error) {
	as := events.ServiceSpec{Image: base.Image, Env: base.Env, Limits: base.Limits}
	for _, set := range t.settings.settings {
		set(&as)
	}
	next := events.ServerSpec{Engine: base.Engine, Image: as.Image, Env: as.Env, Limits: as.Limits}
	if t.engine != "" {
		next.Engine = t.engine
	}
	if err := events.ValidServerSpec(next); err != nil {
		return base, t.settings.locate(err)
	}
	return next, nil
}

// servers reads the part of the file about shard servers, now.
func (f *Flags) servers(digest string) (configs []ServersConfig, err error) {
	if f.config == "" {
		return nil, nil
	}
	config, err := LoadConfig(f.config)
	if err != nil {
		return nil, err
	}
	for _, t := range config.tables {
		configs = append(configs, ServersConfig{Table: t.name, ConfigHash: digest, Overlay: t.overlay})
	}
	return configs, nil
}
