// Package config reads what people configure: the file of `ringway up` and of
// controllers, and the file that describes a table. A fault has its place.
package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/spf13/cobra"

	"ringway/cli/console"
	"ringway/events"
	"ringway/events/size"
)

// Overlay puts what a person wrote over what is stored or, the first time,
// over events.DefaultServiceSpec. What was not written stays as it is. An
// error names the place and leaves base the truth.
type Overlay func(base events.ServiceSpec) (events.ServiceSpec, error)

// maxConfig bounds what is read; a service takes a few hundred bytes.
const maxConfig = 1 << 20

// Config is what a person wrote, read without a fault.
type Config struct {
	source   []byte    // the file
	changed  time.Time // last
	service  string    // empty: none was named
	settings []func(*events.ServiceSpec)
	at       map[string]place // of every value that was written; see decoder
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

// setFlag has a flag of the name of a key win over the file.
func (c *Config) setFlag(key string, apply func(*events.ServiceSpec)) {
	c.settings = append(c.settings, apply)
	c.at[key] = place{}
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
	c, err := ParseConfig(file, b)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(file); err == nil {
		c.changed = info.ModTime()
	}
	return c, nil
}

// ParseConfig reads the content of a configuration file. Errors begin with
// file:line:column.
func ParseConfig(file string, b []byte) (*Config, error) {
	c := &Config{source: b, at: map[string]place{}}
	start := place{file, 1, 1}
	body, err := document(start, b)
	if err != nil {
		return nil, err
	}
	if body == nil {
		return c, nil
	}
	d := &decoder{file: start, at: c.at}
	if err := d.mappingInto("the file", "", body, keys{
		"services": func(n ast.Node) error { return c.readServices(d, n) },
		"tables":   func(n ast.Node) error { return c.readTables(d, n) },
	}); err != nil {
		return nil, err
	}
	return c, nil
}

// readServices reads the part of a file that is about services.
func (c *Config) readServices(d *decoder, n ast.Node) error {
	services, err := d.mapping("services", n)
	if err != nil {
		return err
	}
	for i, kv := range services {
		if i > 0 {
			return kv.at.errorf("service %q is the second; this release runs one service, take one of them out", kv.key)
		}
		if err := events.ValidName(kv.key); err != nil {
			return kv.at.errorf("service %w", err)
		}
		c.service = kv.key
		d.at["name"] = kv.at
		read := func(d *decoder, s *events.ServiceSpec) error {
			return d.mappingInto("service "+kv.key, "", kv.value, serviceKeys(s))
		}
		if err := read(d, &events.ServiceSpec{}); err != nil {
			return err
		}
		c.settings = append(c.settings, func(s *events.ServiceSpec) { _ = read(d.again(), s) }) // it was read without a fault
	}
	return nil
}

// document is the one document of a file; nil if it is empty.
func document(start place, b []byte) (body ast.Node, err error) {
	if len(b) > maxConfig {
		return nil, start.errorf("the file has %d bytes; %d are allowed", len(b), maxConfig)
	}
	if err := plainText(start, b); err != nil {
		return nil, err
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

// plainText refuses what stands before or between the text of a file that is no
// part of it for people who look at it.
func plainText(start place, b []byte) error {
	if bytes.HasPrefix(b, []byte("\ufeff")) {
		return start.errorf("a byte order mark stands before the text; save the file as UTF-8 without one (BOM)")
	}
	number := 0
	for line := range bytes.Lines(b) {
		number++
		for i, rest := 0, line; len(rest) > 0; i++ {
			r, size := utf8.DecodeRune(rest)
			if r == utf8.RuneError && size == 1 {
				return place{start.file, number, i + 1}.errorf("the byte 0x%02x is not UTF-8; save the file as UTF-8", rest[0])
			}
			rest = rest[size:]
		}
		if line[0] == '%' {
			return place{start.file, number, 1}.errorf("%q is a directive, which this file does not allow; leave the line out", bytes.TrimSpace(line))
		}
	}
	return nil
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

// Overlay is what the file and the flags ask for. A file that names the service
// says all of it: what it does not write is as by default, whatever was written
// once, but for the number of replicas. Without such a file base stays.
func (c *Config) Overlay(base events.ServiceSpec) (events.ServiceSpec, error) {
	from := base
	if c.service != "" {
		from = events.DefaultServiceSpec()
		from.Name, from.Replicas = c.service, base.Replicas
	}
	spec := from
	for _, s := range c.settings {
		s(&spec)
	}
	if (c.wrote("command") || c.wrote("image")) && !c.wrote("paths") && len(from.Command) == 0 && from.Image == "" {
		spec.Paths = nil // those of the sample replica mean nothing to another program
	}
	if !c.wrote("slots") {
		spec.Slots = slotsFor(from, spec.Algorithm)
	}
	if err := validate(&spec); err != nil {
		return base, locate(c.at, err)
	}
	total := size.EncodedBytes(spec)
	for _, t := range c.tables {
		servers, err := t.overlay(events.ServerSpec{})
		if err != nil {
			return base, err
		}
		total += size.EncodedBytes(servers)
	}
	if err := size.CheckSpecsSize(total); err != nil {
		return base, locate(c.at, err)
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
func locate(places map[string]place, err error) error {
	field, _, _ := strings.Cut(err.Error(), ":")
	for field != "" {
		if p, ok := places[field]; ok {
			return p.errorf("%w", err)
		}
		field = field[:max(0, strings.LastIndexByte(field, '.'))] // that which it is a part of
	}
	return console.Exit(console.ExitUsage, err)
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
	cmd.Flags().IntVar(&f.replicas, "replicas", d.Replicas, "replicas of the service; without the flag, as the file says, or as stored")
	cmd.Flags().StringVar(&f.algorithm, "algorithm", d.Algorithm, "balanced or course; without the flag, as the file says, or as stored")
}

// ServiceConfig is what a person configures of the service and of shard servers.
// ConfigHash is empty when nothing is configured. A controller applies a
// configuration whose hash is new to it, and keeps later requests otherwise.
type ServiceConfig struct {
	Service    string
	ConfigHash string
	Given      time.Time // zero: nobody knows
	Replicas   *int      // the number of the file, or the default; nil: no file names the service, or a flag says how many
	Overlay    Overlay
	Servers    []ServersConfig
}

// Run is one run of `up`: what its file and flags say is followed once a run. They
// are given when it begins; without it a file is given when it is changed.
type Run struct {
	ID    string
	Given time.Time
}

// Add adds the flags that `up` starts its controller with.
func (r *Run) Add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.ID, "run", "", "of `up`: what its flags say is followed once a run")
	cmd.Flags().TimeVar(&r.Given, "given", time.Time{}, []string{time.RFC3339Nano}, "of `up`: when the run began")
	for _, name := range []string{"run", "given"} {
		_ = cmd.Flags().MarkHidden(name) // fails only for a flag that is not there
	}
}

// Args are those flags.
func (r *Run) Args() []string {
	return []string{"--run", r.ID, "--given", r.Given.Format(time.RFC3339Nano)}
}

// ServiceConfig reads the file now. Different runs have different hashes.
func (f *Flags) ServiceConfig(cmd *cobra.Command, run Run) (ServiceConfig, error) {
	config, err := f.load(cmd)
	if err != nil {
		return ServiceConfig{}, err
	}
	spec, err := config.Overlay(events.DefaultServiceSpec())
	if err != nil {
		return ServiceConfig{}, err
	}
	digest := f.digest(cmd, run.ID, config.source)
	given := run.Given
	if given.IsZero() {
		given = config.changed
	}
	service := ServiceConfig{Service: spec.Name, ConfigHash: digest, Given: given, Overlay: config.Overlay}
	if config.service != "" && !cmd.Flags().Changed("replicas") {
		service.Replicas = &spec.Replicas
	}
	for _, t := range config.tables {
		service.Servers = append(service.Servers, ServersConfig{Table: t.name, ConfigHash: digest, Given: given, Overlay: t.overlay})
	}
	return service, nil
}

// digest is a hash of what a person wrote; empty if that is nothing.
func (f *Flags) digest(cmd *cobra.Command, run string, file []byte) string {
	given := f.Args(cmd)
	if len(given) == 0 {
		return ""
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%q %q\n", run, given)
	sum.Write(file)
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// Spec is what a new service would be, by the file as it is now.
func (f *Flags) Spec(cmd *cobra.Command) (events.ServiceSpec, error) {
	config, err := f.load(cmd)
	if err != nil {
		return events.ServiceSpec{}, err
	}
	return config.Overlay(events.DefaultServiceSpec())
}

// load reads the file and puts the flags over it.
func (f *Flags) load(cmd *cobra.Command) (*Config, error) {
	config := &Config{at: map[string]place{}}
	if f.config != "" {
		var err error
		if config, err = LoadConfig(f.config); err != nil {
			return nil, err
		}
	}
	if cmd.Flags().Changed("replicas") {
		config.setFlag("replicas", func(s *events.ServiceSpec) { s.Replicas = f.replicas })
	}
	if cmd.Flags().Changed("algorithm") {
		config.setFlag("algorithm", func(s *events.ServiceSpec) { s.Algorithm = f.algorithm })
	}
	return config, nil
}

// Args repeats the flags that were given, for the controller that `up` starts.
func (f *Flags) Args(cmd *cobra.Command) []string {
	var args []string
	for _, name := range []string{"config", "replicas", "algorithm"} {
		if flag := cmd.Flag(name); flag.Changed {
			args = append(args, "--"+name, flag.Value.String())
		}
	}
	return args
}
