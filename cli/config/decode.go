package config

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"ringway/events"
)

// decoder reads the syntax tree of a configuration file. It is written out so
// that every error has a position and a remedy, and so that only keys that are
// written change anything.
type decoder struct {
	file place // its start
	c    *Config
}

// field decodes the value of one key; it returns what the value does.
type field func(d *decoder, key string, n ast.Node) (func(*events.ServiceSpec), error)

type spec = events.ServiceSpec

// serviceFields are the keys of a service.
var serviceFields = map[string]field{
	"replicas":    intField(func(s *spec, v int) { s.Replicas = v }),
	"algorithm":   textField(func(s *spec, v string) { s.Algorithm = v }),
	"slots":       intField(func(s *spec, v int) { s.Slots = v }),
	"load_factor": floatField(func(s *spec, v float64) { s.LoadFactor = v }),
	"functions":   functions,
	"key":         keySource,
	"paths":       listField(func(s *spec, v []string) { s.Paths = v }),
	"health":      textField(func(s *spec, v string) { s.Health = v }),
	"command":     listField(func(s *spec, v []string) { s.Command = v }),
	"env":         environment,
	"image":       textField(func(s *spec, v string) { s.Image = v }),
	"port":        intField(func(s *spec, v int) { s.Port = v }),
	"limits":      limits,
	"timeout":     durationField(func(s *spec, v events.Duration) { s.Timeout = v }),
	"drain":       durationField(func(s *spec, v events.Duration) { s.Drain = v }),
	"grace":       durationField(func(s *spec, v events.Duration) { s.Grace = v }),
}

var limitFields = map[string]field{
	"memory": bytesField(func(s *spec, v int64) { s.Limits.Memory = v }),
	"cpus":   floatField(func(s *spec, v float64) { s.Limits.CPUs = v }),
	"pids":   intField(func(s *spec, v int) { s.Limits.PIDs = v }),
}

var functionFields = map[string]field{
	"h":   textField(func(s *spec, v string) { s.Functions.H = v }),
	"phi": textField(func(s *spec, v string) { s.Functions.Phi = v }),
}

var keyFields = map[string]field{
	"from": textField(func(s *spec, v string) { s.Key.From = v }),
	"name": textField(func(s *spec, v string) { s.Key.Name = v }),
}

func (d *decoder) root(n ast.Node) error {
	top, err := d.mapping("the file", n)
	if err != nil {
		return err
	}
	for _, kv := range top {
		if kv.key == "tables" {
			if err := d.tables(kv.value); err != nil {
				return err
			}
			continue
		}
		if kv.key != "services" {
			return kv.at.errorf("unknown key %q%s", kv.key, suggest(kv.key, []string{"services", "tables"}))
		}
		services, err := d.mapping("services", kv.value)
		if err != nil {
			return err
		}
		for i, s := range services {
			if i > 0 {
				return s.at.errorf("service %q is the second; this release runs one service, take one of them out", s.key)
			}
			if err := events.ValidName(s.key); err != nil {
				return s.at.errorf("service %w", err)
			}
			d.c.service = s.key
			d.c.at["name"] = s.at
			fields, err := d.mapping("service "+s.key, s.value)
			if err != nil {
				return err
			}
			if err := d.decode("", fields, serviceFields); err != nil {
				return err
			}
		}
	}
	return nil
}

// decode applies fields to what is there; prefix is the path of the mapping.
func (d *decoder) decode(prefix string, there []pair, known map[string]field) error {
	for _, kv := range there {
		f, ok := known[kv.key]
		if !ok {
			return kv.at.errorf("unknown key %q%s", kv.key, suggest(kv.key, slices.Sorted(maps.Keys(known))))
		}
		key := prefix + kv.key
		apply, err := f(d, key, kv.value)
		if err != nil {
			return err
		}
		d.c.set(key, at(d.file, kv.value), apply)
	}
	return nil
}

// pair is one entry of a mapping.
type pair struct {
	key   string
	at    place
	value ast.Node
}

func (d *decoder) mapping(what string, n ast.Node) ([]pair, error) {
	var values []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		return nil, d.wrong(what, n, "a mapping, like {key: value}")
	}
	var pairs []pair
	seen := map[string]bool{}
	for _, v := range values {
		where := at(d.file, v.Key)
		name, ok := v.Key.(*ast.StringNode)
		if !ok {
			return nil, where.errorf("%s: %s is no key here; write a plain word", what, describe(v.Key))
		}
		if seen[name.Value] {
			return nil, where.errorf("%s: key %q is there twice; keep one", what, name.Value)
		}
		seen[name.Value] = true
		pairs = append(pairs, pair{name.Value, where, v.Value})
	}
	return pairs, nil
}

func (d *decoder) wrong(key string, n ast.Node, want string) error {
	return at(d.file, n).errorf("%s: want %s, got %s", key, want, describe(n))
}

func intField(set func(*spec, int)) field {
	return func(d *decoder, key string, n ast.Node) (func(*spec), error) {
		if i, ok := n.(*ast.IntegerNode); ok {
			switch v := i.Value.(type) {
			case int64:
				if v >= math.MinInt32 && v <= math.MaxInt32 {
					return func(s *spec) { set(s, int(v)) }, nil
				}
			case uint64:
				if v <= math.MaxInt32 {
					return func(s *spec) { set(s, int(v)) }, nil
				}
			}
			return nil, at(d.file, n).errorf("%s: %s is out of range", key, i.Token.Value)
		}
		return nil, d.wrong(key, n, "a whole number")
	}
}

// bytesField takes a number of bytes, or one with a unit: powers of 1024.
func bytesField(set func(*spec, int64)) field {
	units := map[string]int64{"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
	return func(d *decoder, key string, n ast.Node) (func(*spec), error) {
		text, ok := stringOf(n)
		if i, whole := n.(*ast.IntegerNode); whole {
			text, ok = i.Token.Value, true
		}
		if !ok {
			return nil, d.wrong(key, n, "a size, like 256MiB")
		}
		digits := strings.TrimRight(text, "KMGiB")
		unit, known := units[text[len(digits):]]
		v, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || !known || v < 0 || v > math.MaxInt64/unit {
			return nil, at(d.file, n).errorf("%s: %q is no size; write bytes, or a number with KiB, MiB or GiB", key, text)
		}
		return func(s *spec) { set(s, v*unit) }, nil
	}
}

func floatField(set func(*spec, float64)) field {
	return func(d *decoder, key string, n ast.Node) (func(*spec), error) {
		var v float64
		switch x := n.(type) {
		case *ast.FloatNode:
			v = x.Value
		case *ast.IntegerNode:
			switch i := x.Value.(type) {
			case int64:
				v = float64(i)
			case uint64:
				v = float64(i)
			}
		default:
			return nil, d.wrong(key, n, "a number")
		}
		return func(s *spec) { set(s, v) }, nil
	}
}

func textField(set func(*spec, string)) field {
	return func(d *decoder, key string, n ast.Node) (func(*spec), error) {
		v, ok := stringOf(n)
		if !ok {
			return nil, d.wrong(key, n, "text")
		}
		return func(s *spec) { set(s, v) }, nil
	}
}

func durationField(set func(*spec, events.Duration)) field {
	return func(d *decoder, key string, n ast.Node) (func(*spec), error) {
		v, ok := stringOf(n)
		if !ok {
			return nil, d.wrong(key, n, "a duration with a unit, like 30s or 500ms")
		}
		t, err := time.ParseDuration(v)
		if err != nil {
			return nil, at(d.file, n).errorf("%s: %q is no duration; write a number with a unit, like 30s or 500ms", key, v)
		}
		return func(s *spec) { set(s, events.Duration(t)) }, nil
	}
}

func listField(set func(*spec, []string)) field {
	return func(d *decoder, key string, n ast.Node) (func(*spec), error) {
		list, ok := n.(*ast.SequenceNode)
		if !ok {
			return nil, d.wrong(key, n, `a list of texts, like ["a", "b"]`)
		}
		v := []string{}
		for _, item := range list.Values {
			s, ok := stringOf(item)
			if !ok {
				return nil, d.wrong(fmt.Sprintf("%s[%d]", key, len(v)), item, "text; put it in quotes")
			}
			v = append(v, s)
		}
		return func(s *spec) { set(s, v) }, nil
	}
}

func environment(d *decoder, key string, n ast.Node) (func(*spec), error) {
	pairs, err := d.mapping(key, n)
	if err != nil {
		return nil, err
	}
	env := map[string]string{}
	for _, kv := range pairs {
		v, ok := stringOf(kv.value)
		if !ok {
			return nil, d.wrong(key+"."+kv.key, kv.value, "text; put it in quotes")
		}
		if kv.key == "" || strings.ContainsAny(kv.key, "=\x00") || strings.Contains(v, "\x00") {
			return nil, kv.at.errorf("%s: %q can be no variable; leave out '=' and zero bytes", key, kv.key)
		}
		env[kv.key] = v
	}
	return func(s *spec) { s.Env = env }, nil
}

func limits(d *decoder, key string, n ast.Node) (func(*spec), error) {
	return d.nested(key, n, limitFields)
}

func functions(d *decoder, key string, n ast.Node) (func(*spec), error) {
	return d.nested(key, n, functionFields)
}

func keySource(d *decoder, key string, n ast.Node) (func(*spec), error) {
	return d.nested(key, n, keyFields)
}

func (d *decoder) nested(key string, n ast.Node, known map[string]field) (func(*spec), error) {
	pairs, err := d.mapping(key, n)
	if err != nil {
		return nil, err
	}
	return func(*spec) {}, d.decode(key+".", pairs, known)
}

func stringOf(n ast.Node) (string, bool) {
	switch s := n.(type) {
	case *ast.StringNode:
		return s.Value, true
	case *ast.LiteralNode:
		return s.Value.Value, true
	}
	return "", false
}

// describe names a node as people who write YAML do.
func describe(n ast.Node) string {
	switch v := n.(type) {
	case nil:
		return "nothing"
	case *ast.NullNode:
		return "nothing"
	case *ast.StringNode:
		return fmt.Sprintf("the text %q", shorten(v.Value))
	case *ast.LiteralNode:
		return "a block of text"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "the number " + shorten(n.GetToken().Value)
	case *ast.BoolNode:
		return fmt.Sprintf("%v (write it in quotes if it is meant as text)", v.Value)
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		return "an anchor or alias, which this file does not allow"
	case *ast.TagNode:
		return "a tag, which this file does not allow"
	}
	return "something else"
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}

// at is where a node begins.
func at(file place, n ast.Node) place {
	if m, ok := n.(*ast.MappingValueNode); ok {
		n = m.Key
	}
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		n = m.Values[0].Key
	}
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return file
	}
	p := n.GetToken().Position
	return place{file.file, max(p.Line, 1), max(p.Column, 1)}
}

// suggest proposes the known word that is nearest, or lists them all.
func suggest(word string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if d := distance(strings.ToLower(word), k); d < least || strings.HasPrefix(k, word) && best == "" {
			best, least = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	return "; use " + strings.Join(known, ", ")
}

// distance is Levenshtein's.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost = 1 + min(diagonal, row[j], row[j-1])
			}
			diagonal, row[j] = row[j], cost
		}
	}
	return row[len(b)]
}
