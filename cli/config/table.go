package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"ringway/cli/console"
	"ringway/events"
	"ringway/internal/suggest"
)

// TableConfig is a table that a controller creates if there is none of its name.
type TableConfig struct {
	ConfigHash string
	Request    events.InitRequest
}

// LoadTable reads a file that describes a table: YAML, or the JSON of the
// course's /init. Its request has no ID.
func LoadTable(file string) (TableConfig, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return TableConfig{}, console.Usage("table: %w; name a file that is there", err)
	}
	req, err := ParseTable(file, b)
	if err != nil {
		return TableConfig{}, err
	}
	sum := sha256.Sum256(b)
	return TableConfig{ConfigHash: hex.EncodeToString(sum[:8]), Request: req}, nil
}

// ParseTable reads the content of such a file. Errors begin with
// file:line:column.
func ParseTable(file string, b []byte) (events.InitRequest, error) {
	start := place{file, 1, 1}
	body, err := document(start, b)
	if err != nil {
		return events.InitRequest{}, err
	}
	if body == nil {
		return events.InitRequest{}, start.errorf("the file is empty; it needs shards, and servers or N")
	}
	t := &tableFile{decoder: decoder{file: start, at: map[string]place{}}}
	if err := t.root(body); err != nil {
		return events.InitRequest{}, err
	}
	return t.req, nil
}

// tableFile is a table while it is read.
type tableFile struct {
	decoder
	req events.InitRequest
}

func (t *tableFile) root(n ast.Node) error {
	top, err := t.mapping("the file", n)
	if err != nil {
		return err
	}
	written := map[string]pair{}
	for _, kv := range top {
		key := kv.key
		if key == "n" {
			key = "N"
		}
		known := []string{"table", "schema", "shards", "servers", "N", "replicas", "engine"}
		if !slices.Contains(known, key) {
			return kv.at.errorf("unknown key %q%s", kv.key, suggest.Word(kv.key, known))
		}
		if _, twice := written[key]; twice {
			return kv.at.errorf("%s is there twice; keep one", key)
		}
		written[key] = kv
	}
	t.req.Table = events.Table{Name: events.DefaultTable, Schema: CourseSchema()}
	// Not in the order of the file: each looks at what the ones before it found.
	for _, part := range []struct {
		key  string
		read func(pair) error
	}{
		{"table", t.table}, {"schema", t.schema}, {"shards", t.shards}, {"N", t.number},
		{"servers", t.servers}, {"replicas", t.replicas}, {"engine", t.engine},
	} {
		if kv, ok := written[part.key]; ok {
			if err := part.read(kv); err != nil {
				return err
			}
		}
	}
	switch {
	case len(t.req.Table.Shards) == 0:
		return t.file.errorf("shards: missing; add some, like shards: [{id: sh1, low: 0, size: 4096}]")
	case t.req.N == 0:
		return t.file.errorf("N: missing; say how many servers, or name them under servers")
	}
	return nil
}

func (t *tableFile) table(kv pair) error {
	name, ok := stringOf(kv.value)
	if !ok {
		return t.wrong("table", kv.value, "a name")
	}
	if err := events.ValidIdentifier(name); err != nil {
		return at(t.file, kv.value).errorf("table: %w", err)
	}
	t.req.Table.Name = name
	return nil
}

func (t *tableFile) schema(kv pair) error {
	schema := events.Schema{}
	if err := t.decode("schema", kv.value, keys{"columns": &schema.Columns, "dtypes": &schema.DTypes}); err != nil {
		return err
	}
	if err := schema.Validate(); err != nil {
		key, _, _ := strings.Cut(err.Error(), ":")
		if p, ok := t.at["schema."+key]; ok {
			return p.errorf("schema.%w", err)
		}
		return kv.at.errorf("schema.%w", err)
	}
	t.req.Table.Schema = schema
	return nil
}

func (t *tableFile) shards(kv pair) error {
	list, ok := kv.value.(*ast.SequenceNode)
	if !ok || len(list.Values) == 0 {
		return t.wrong("shards", kv.value, "a list, like [{id: sh1, low: 0, size: 4096}]")
	}
	for i, n := range list.Values {
		if i == events.MaxShards {
			return at(t.file, n).errorf("shards: these are too many; use at most %d", events.MaxShards)
		}
		s, err := t.shard(fmt.Sprintf("shards[%d]", i), n)
		if err != nil {
			return err
		}
		t.req.Table.Shards = append(t.req.Table.Shards, s)
		if err := t.req.Table.Validate(); err != nil {
			return at(t.file, n).errorf("%w", err)
		}
	}
	return nil
}

// shard reads one, with its keys as Ringway or as the course names them.
func (t *tableFile) shard(what string, n ast.Node) (s events.Shard, err error) {
	parts, err := t.mapping(what, n)
	if err != nil {
		return s, err
	}
	courseLow := t.req.Table.Schema.KeyColumn() + "_low"
	meant := map[string]string{"id": "id", "Shard_id": "id", "low": "low", courseLow: "low", "size": "size", "Shard_size": "size"}
	into := keys{"id": &s.ID, "low": &s.Low, "size": &s.Size}
	found := map[string]bool{}
	for _, p := range parts {
		key := meant[p.key]
		switch {
		case key == "":
			return s, p.at.errorf("%s: unknown key %q; use id, low and size, or Shard_id, %s and Shard_size", what, p.key, courseLow)
		case found[key]:
			return s, p.at.errorf("%s: %s is there twice; keep one", what, key)
		}
		found[key] = true
		if err := t.decode(what+"."+p.key, p.value, into[key]); err != nil {
			return s, err
		}
	}
	for _, key := range []string{"id", "low", "size"} {
		if !found[key] {
			return s, at(t.file, n).errorf("%s: %s is missing", what, key)
		}
	}
	return s, nil
}

func (t *tableFile) number(kv pair) (err error) {
	t.req.N, err = t.count(kv, "servers", events.MaxShardServers)
	return err
}

// servers reads how many there are, or which shards each one keeps.
func (t *tableFile) servers(kv pair) error {
	if _, ok := wholeOf(kv.value); ok && t.req.N == 0 {
		return t.number(kv)
	}
	named, err := t.mapping("servers", kv.value)
	if err != nil {
		return err
	}
	for _, s := range named {
		p := events.Placement{Name: s.key}
		if strings.Contains(s.key, "[") {
			p.Name = "" // as the course asks for a random one
		} else if err := events.ValidName(s.key); err != nil {
			return s.at.errorf("servers: %w", err)
		}
		if p.Shards, err = t.texts("servers."+s.key, s.value); err != nil {
			return err
		}
		for i, id := range p.Shards {
			where := at(t.file, s.value.(*ast.SequenceNode).Values[i])
			if _, ok := t.req.Table.Shard(id); !ok {
				return where.errorf("servers.%s: shard %q is not defined", s.key, shorten(id))
			}
			if slices.Contains(p.Shards[:i], id) {
				return where.errorf("servers.%s: shard %q is there twice", s.key, id)
			}
		}
		t.req.Servers = append(t.req.Servers, p)
		if n := len(t.req.Servers); t.req.N > 0 && n > t.req.N {
			return s.at.errorf("servers: %s is one more than N, which is %d", s.key, t.req.N)
		}
	}
	if t.req.N == 0 {
		t.req.N = len(named)
	}
	return nil
}

func (t *tableFile) replicas(kv pair) (err error) {
	t.req.Replicas, err = t.count(kv, "copies", events.MaxShardServers)
	return err
}

func (t *tableFile) engine(kv pair) error {
	return t.decode("engine", kv.value, (*engineName)(&t.req.Engine))
}

// CheckEngine refuses what is no engine of shard servers.
func CheckEngine(s string) error {
	if slices.Contains([]string{"auto", "mysql", "sqlite"}, s) {
		return nil
	}
	return fmt.Errorf("engine %q is unknown; use auto, mysql or sqlite", s)
}

func (t *tableFile) count(kv pair, of string, maxCount int) (int, error) {
	n, ok := wholeOf(kv.value)
	if !ok || n < 1 || n > int64(maxCount) {
		return 0, t.wrong(kv.key, kv.value, fmt.Sprintf("a number of %s from 1 to %d", of, maxCount))
	}
	return int(n), nil
}

// CourseSchema is that of the course's table.
func CourseSchema() events.Schema {
	return events.Schema{
		Columns: []string{"Stud_id", "Stud_name", "Stud_marks"},
		DTypes:  []string{events.DTypeNumber, events.DTypeString, events.DTypeString},
	}
}

// CourseTable has shards sh1, sh2, … one after the other.
func CourseTable(shards int, size int64) events.Table {
	t := events.Table{Name: events.DefaultTable, Schema: CourseSchema()}
	for i := range shards {
		t.Shards = append(t.Shards, events.Shard{ID: fmt.Sprintf("sh%d", i+1), Low: int64(i) * size, Size: size})
	}
	return t
}
