// Package config reads what people configure: the file of `ringway up` and of
// controllers, and the file that describes a table. A fault has its place.
package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/spf13/cobra"

	"ringway/cli/console"
	"ringway/events"
)

// Overlay puts what a person wrote over what is stored or, the first time,
// over events.DefaultServiceSpec. What was not written stays as it is. An
// error names the place and leaves base the truth.
type Overlay func(base events.ServiceSpec) (events.ServiceSpec, error)

// maxConfig bounds what is read; a service takes a few hundred bytes.
const maxConfig = 1 << 20

// Config is what a person wrote, read without a fault.
type Config struct {
	service  string // empty: none was named
	settings []func(*events.ServiceSpec)
	at       map[string]place // of every key that was written, "key.from" for nested ones
	tables   []*tableConfig
}

// place is where a person wrote something: a position in a file, or a flag.
type place struct {
	file         string // empty: the flag with the name of the key
	line, column int
}

func (p place) errorf(format string, args ...any) error {
	if p.file == "" {
		return console.Usage("--"+format, args...)
	}
	return console.Usage("%s:%d:%d: %w", p.file, p.line, p.column, fmt.Errorf(format, args...))
}

func (c *Config) set(key string, p place, apply func(*events.ServiceSpec)) {
	c.settings = append(c.settings, apply)
	c.at[key] = p
}

func (c *Config) wrote(key string) bool {
	_, ok := c.at[key]
	return ok
}

// LoadConfig reads a configuration file strictly.
func LoadConfig(file string) (*Config, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, console.Usage("configuration: %w; name a file that is there with --config", err)
	}
	return ParseConfig(file, b)
}

// ParseConfig reads the content of a configuration file. Errors begin with
// file:line:column.
func ParseConfig(file string, b []byte) (*Config, error) {
	c := &Config{at: map[string]place{}}
	start := place{file, 1, 1}
	body, err := document(start, b)
	if err != nil {
		return nil, err
	}
	if body == nil {
		return c, nil
	}
	d := &decoder{file: start, c: c}
	if err := d.root(body); err != nil {
		return nil, err
	}
	return c, nil
}

// document is the one document of a file; nil if it is empty.
func document(start place, b []byte) (body ast.Node, err error) {
	if len(b) > maxConfig {
		return nil, start.errorf("the file has %d bytes; %d are allowed", len(b), maxConfig)
	}
	tree, err := parser.ParseBytes(b, 0)
	if err != nil {
		return nil, syntaxError(start, err)
	}
	for _, doc := range tree.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			return nil, at(start, doc.Body).errorf("a second document begins here; keep to one")
		}
		body = doc.Body
	}
	return body, nil
}

// syntaxError keeps the parser's position and drops its picture of the source.
func syntaxError(start place, err error) error {
	var e yaml.Error
	if errors.As(err, &e) && e.GetToken() != nil && e.GetToken().Position != nil {
		p := e.GetToken().Position
		return place{start.file, max(p.Line, 1), max(p.Column, 1)}.errorf("this is no YAML: %s", cleaned(e.GetMessage()))
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	return start.errorf("this is no YAML: %s", first)
}

// cleaned explains the commonest mistake, tabs.
func cleaned(message string) string {
	if strings.Contains(message, "'\t'") || strings.Contains(message, "'\\t'") {
		return "a tab; indent with spaces"
	}
	return message
}

// Overlay puts the file over base.
func (c *Config) Overlay(base events.ServiceSpec) (events.ServiceSpec, error) {
	spec := base
	if c.service != "" {
		spec.Name = c.service
	}
	for _, s := range c.settings {
		s(&spec)
	}
	if (c.wrote("command") || c.wrote("image")) && !c.wrote("paths") && len(base.Command) == 0 && base.Image == "" {
		spec.Paths = nil // those of the sample replica mean nothing to another program
	}
	if !c.wrote("slots") {
		spec.Slots = slotsFor(base, spec.Algorithm)
	}
	if err := validate(&spec); err != nil {
		return base, c.locate(err)
	}
	return spec, nil
}

// slotsFor keeps the table's size unless the algorithm changes.
func slotsFor(base events.ServiceSpec, algorithm string) int {
	switch algorithm {
	case base.Algorithm:
		return base.Slots
	case events.Course:
		return events.CourseSlots
	}
	return events.DefaultSlots
}

// locate gives an error of validate the place of the field that it begins with.
func (c *Config) locate(err error) error {
	field, _, _ := strings.Cut(err.Error(), ":")
	for ; field != ""; field = parent(field) {
		if p, ok := c.at[field]; ok {
			return p.errorf("%w", err)
		}
	}
	return console.Exit(console.ExitUsage, err)
}

func parent(field string) string {
	if i := strings.LastIndexByte(field, '.'); i >= 0 {
		return field[:i]
	}
	return ""
}

// Flags are the flags that speak of the service.
type Flags struct {
	config    string
	replicas  int
	algorithm string
}

func (f *Flags) Add(cmd *cobra.Command) {
	d := events.DefaultServiceSpec()
	cmd.Flags().StringVar(&f.config, "config", "", "YAML file that describes the service, and what shard servers run")
	cmd.Flags().IntVar(&f.replicas, "replicas", d.Replicas, "replicas of the service; without the flag, as stored")
	cmd.Flags().StringVar(&f.algorithm, "algorithm", d.Algorithm, "balanced or course; without the flag, as stored")
}

// ServiceConfig is what a person configures of the service and of shard servers.
// ConfigHash is empty when nothing is configured. A controller applies a
// configuration whose hash is new to it, and keeps later requests otherwise.
type ServiceConfig struct {
	Service    string
	ConfigHash string
	Overlay    Overlay
	Servers    []ServersConfig
}

// serviceConfig reads the file now. Different runs have different hashes.
func (f *Flags) ServiceConfig(cmd *cobra.Command, run string) (ServiceConfig, error) {
	overlay, err := f.Overlay(cmd)
	if err != nil {
		return ServiceConfig{}, err
	}
	spec, err := overlay(events.DefaultServiceSpec())
	if err != nil {
		return ServiceConfig{}, err
	}
	digest, err := f.digest(cmd, run)
	if err != nil {
		return ServiceConfig{}, err
	}
	servers, err := f.servers(digest)
	return ServiceConfig{Service: spec.Name, ConfigHash: digest, Overlay: overlay, Servers: servers}, err
}

// digest is a hash of what a person wrote; empty if that is nothing.
func (f *Flags) digest(cmd *cobra.Command, run string) (string, error) {
	given := f.Args(cmd)
	if len(given) == 0 {
		return "", nil
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%q %q\n", run, given)
	if f.config != "" {
		b, err := os.ReadFile(f.config)
		if err != nil {
			return "", console.Usage("configuration: %w", err)
		}
		sum.Write(b)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}

// overlay reads the file now, and checks all that can be checked without the
// stored service.
func (f *Flags) Overlay(cmd *cobra.Command) (Overlay, error) {
	config := &Config{at: map[string]place{}}
	if f.config != "" {
		var err error
		if config, err = LoadConfig(f.config); err != nil {
			return nil, err
		}
	}
	if cmd.Flags().Changed("replicas") {
		config.set("replicas", place{}, func(s *events.ServiceSpec) { s.Replicas = f.replicas })
	}
	if cmd.Flags().Changed("algorithm") {
		config.set("algorithm", place{}, func(s *events.ServiceSpec) { s.Algorithm = f.algorithm })
	}
	if _, err := config.Overlay(events.DefaultServiceSpec()); err != nil {
		return nil, err
	}
	return config.Overlay, nil
}

// args repeats the flags that were given, for the controller that `up` starts.
func (f *Flags) Args(cmd *cobra.Command) []string {
	var args []string
	for _, name := range []string{"config", "replicas", "algorithm"} {
		if flag := cmd.Flag(name); flag.Changed {
			args = append(args, "--"+name, flag.Value.String())
		}
	}
	return args
}
