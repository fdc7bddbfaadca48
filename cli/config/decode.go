package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"ringway/events"
	"ringway/internal/suggest"
)

// decoder reads the syntax tree of a configuration file. It is written out so
// that every error has a position and a remedy, and because the library takes
// 3.5 for a whole number and true for a text.
type decoder struct {
	file place            // its start
	at   map[string]place // of every value that was written, "key.from" for nested ones
}

// again is a decoder of the same file that has met nothing.
func (d *decoder) again() *decoder { return &decoder{file: d.file, at: map[string]place{}} }

// keys are those of a mapping, each with where its value goes: a pointer, the
// keys of a nested mapping, or a function that reads the value.
type keys map[string]any

// byteSize is a number of bytes, or one with a unit: powers of 1024.
type byteSize int64

// engineName is what keeps the rows.
type engineName string

func serviceKeys(s *events.ServiceSpec) keys {
	return keys{
		"replicas":    &s.Replicas,
		"algorithm":   &s.Algorithm,
		"slots":       &s.Slots,
		"load_factor": &s.LoadFactor,
		"functions":   keys{"h": &s.Functions.H, "phi": &s.Functions.Phi},
		"key":         keys{"from": &s.Key.From, "name": &s.Key.Name},
		"paths":       &s.Paths,
		"health":      &s.Health,
		"command":     &s.Command,
		"env":         &s.Env,
		"image":       &s.Image,
		"port":        &s.Port,
		"limits":      limitKeys(&s.Limits),
		"timeout":     &s.Timeout,
		"drain":       &s.Drain,
		"grace":       &s.Grace,
		"min_ready":   &s.MinReady,
	}
}

func limitKeys(l *events.Limits) keys {
	return keys{"memory": (*byteSize)(&l.Memory), "cpus": &l.CPUs, "pids": &l.PIDs}
}

// mappingInto decodes a mapping; prefix is its path.
func (d *decoder) mappingInto(what, prefix string, n ast.Node, known keys) error {
	pairs, err := d.mapping(what, n)
	if err != nil {
		return err
	}
	for _, kv := range pairs {
		to, ok := known[kv.key]
		if !ok {
			return kv.at.errorf("unknown key %q%s", kv.key, suggest.Word(kv.key, slices.Sorted(maps.Keys(known))))
		}
		if err := d.decode(prefix+kv.key, kv.value, to); err != nil {
			return err
		}
	}
	return nil
}

// decode puts the value of one key where it belongs.
func (d *decoder) decode(key string, n ast.Node, to any) (err error) {
	d.at[key] = at(d.file, n)
	switch to := to.(type) {
	case keys:
		return d.mappingInto(key, key+".", n, to)
	case func(ast.Node) error:
		return to(n)
	case *int:
		number, ok := n.(*ast.IntegerNode)
		if !ok {
			return d.wrong(key, n, "a whole number")
		}
		if err := d.decimal(key, n); err != nil {
			return err
		}
		v, ok := wholeOf(n)
		if !ok || v < math.MinInt32 || v > math.MaxInt32 {
			return d.at[key].errorf("%s: %s is out of range", key, number.Token.Value)
		}
		*to = int(v)
	case *int64:
		v, ok := wholeOf(n)
		if !ok {
			return d.wrong(key, n, "a whole number")
		}
		*to = v
		return d.decimal(key, n)
	case *float64:
		switch n.(type) {
		case *ast.IntegerNode, *ast.FloatNode:
			return errors.Join(d.decimal(key, n), yaml.NodeToValue(n, to))
		}
		return d.wrong(key, n, "a number")
	case *byteSize:
		*to, err = d.byteSize(key, n)
	case *string:
		text, ok := stringOf(n)
		if !ok {
			return d.wrong(key, n, "text")
		}
		*to, err = d.literal(key, n, text)
	case *engineName:
		text, _ := stringOf(n)
		if CheckEngine(text) != nil {
			return d.wrong(key, n, "auto, mysql or sqlite")
		}
		*to = engineName(text)
	case *events.Duration:
		*to, err = d.duration(key, n)
	case *[]string:
		*to, err = d.texts(key, n)
	case *map[string]string:
		*to, err = d.environment(key, n)
	default:
		panic(fmt.Sprintf("BUG: no way to read %s into %T", key, to))
	}
	return err
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

func (d *decoder) byteSize(key string, n ast.Node) (byteSize, error) {
	units := map[string]int64{"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
	text, ok := stringOf(n)
	if i, whole := n.(*ast.IntegerNode); whole {
		text, ok = i.Token.Value, true
		if err := d.decimal(key, n); err != nil {
			return 0, err
		}
	}
	if !ok {
		return 0, d.wrong(key, n, "a size, like 256MiB")
	}
	digits := strings.TrimRight(text, "KMGiB")
	unit, known := units[text[len(digits):]]
	v, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	if err != nil || !known || v < 0 || v > math.MaxInt64/unit {
		return 0, at(d.file, n).errorf("%s: %q is no size; write bytes, or a number with KiB, MiB or GiB", key, text)
	}
	return byteSize(v * unit), nil
}

func (d *decoder) duration(key string, n ast.Node) (events.Duration, error) {
	text, ok := stringOf(n)
	if !ok {
		return 0, d.wrong(key, n, "a duration with a unit, like 30s or 500ms")
	}
	t, err := time.ParseDuration(text)
	if err != nil {
		return 0, at(d.file, n).errorf("%s: %q is no duration; write a number with a unit, like 30s or 500ms", key, text)
	}
	return events.Duration(t), nil
}

func (d *decoder) texts(key string, n ast.Node) ([]string, error) {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		return nil, d.wrong(key, n, `a list of texts, like ["a", "b"]`)
	}
	texts := []string{}
	for i, item := range list.Values {
		key := fmt.Sprintf("%s[%d]", key, i)
		s, ok := stringOf(item)
		if !ok {
			return nil, d.wrong(key, item, "text; put it in quotes")
		}
		if !isScript(texts) {
			var err error
			if s, err = d.literal(key, item, s); err != nil {
				return nil, err
			}
		}
		texts = append(texts, s)
	}
	return texts, nil
}

// isScript tells whether what follows in a command is for a shell, which replaces
// variables by itself: PORT is one that every replica has.
func isScript(command []string) bool {
	shells := []string{"sh", "ash", "bash", "dash", "ksh", "zsh"}
	return len(command) > 1 && slices.Contains(shells, path.Base(command[0])) && strings.HasPrefix(command[1], "-") && strings.HasSuffix(command[1], "c")
}

// literal is a text that is used as it stands. A variable in it would not be
// replaced, which its author did not mean; $${ is written for ${.
func (d *decoder) literal(key string, n ast.Node, text string) (string, error) {
	parts := strings.Split(text, "$${")
	for _, part := range parts {
		if i := strings.Index(part, "${"); i >= 0 {
			name, _, _ := strings.Cut(part[i:], "}")
			return "", at(d.file, n).errorf("%s: %q would stay as it is, for variables are not replaced here; write the value, or $%s} if these letters are meant", key, shorten(text), shorten(name))
		}
	}
	return strings.Join(parts, "${"), nil
}

var decimalRule = regexp.MustCompile(`^[-+]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?$|^[-+]?\.[0-9]+$`)

// decimal refuses the other ways in which YAML writes numbers: 010 is eight.
func (d *decoder) decimal(key string, n ast.Node) error {
	if text := n.GetToken().Value; !decimalRule.MatchString(text) {
		return at(d.file, n).errorf("%s: %s is not a plain decimal number; write it without leading zeros, prefixes and underscores", key, shorten(text))
	}
	return nil
}

func (d *decoder) environment(key string, n ast.Node) (map[string]string, error) {
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
		if v, err = d.literal(key+"."+kv.key, kv.value, v); err != nil {
			return nil, err
		}
		env[kv.key] = v
	}
	return env, nil
}

func wholeOf(n ast.Node) (int64, bool) {
	i, ok := n.(*ast.IntegerNode)
	if !ok {
		return 0, false
	}
	switch v := i.Value.(type) {
	case int64:
		return v, true
	case uint64:
		return int64(v), v <= math.MaxInt64
	}
	return 0, false
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
