package events

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"

	"ringway/events/rowjson"
)

// Types of a column. A String column holds numbers too, and gives back what
// it was given.
const (
	DTypeNumber = "Number"
	DTypeString = "String"
)

// Sizes of tables.
const (
	MaxShards          = 1024 // of one table
	MaxIdentifierBytes = 48
)

// Schema is the columns of a table. The first is the key: a Number that is a
// 64-bit integer.
type Schema struct {
	Columns []string `json:"columns"`
	DTypes  []string `json:"dtypes"`
}

// Shard is a key range of a table: Low ≤ key < Low + Size.
type Shard struct {
	ID   string `json:"id"`
	Low  int64  `json:"low"`
	Size int64  `json:"size"`
}

// Table is a SQL table, cut into shards.
type Table struct {
	Name   string  `json:"name"`
	Schema Schema  `json:"schema"`
	Shards []Shard `json:"shards"` // no two overlap; gaps belong to nobody
}

// ShardSpec is what has to be known of a shard to keep a replica of it.
type ShardSpec struct {
	Table  string `json:"table"`
	Schema Schema `json:"schema"`
	Shard  Shard  `json:"shard"`
}

// Validate names the first thing that cannot be.
func (r *ShardSpec) Validate() error {
	table := Table{Name: r.Table, Schema: r.Schema, Shards: []Shard{r.Shard}}
	return table.Validate()
}

// KeyColumn is the name of the key.
func (s *Schema) KeyColumn() string { return s.Columns[0] }

// Validate names the first thing that cannot be.
func (s *Schema) Validate() error {
	switch {
	case len(s.Columns) == 0:
		return StatusErrorf(400, "columns: missing")
	case len(s.Columns) > rowjson.MaxColumns:
		return StatusErrorf(400, "columns: %d are too many; use at most %d", len(s.Columns), rowjson.MaxColumns)
	case len(s.DTypes) != len(s.Columns):
		return StatusErrorf(400, "dtypes: %d for %d columns", len(s.DTypes), len(s.Columns))
	case s.DTypes[0] != DTypeNumber:
		return StatusErrorf(400, "dtypes: the first column, %s, is the key and has to be a %s", rowjson.Shorten(s.Columns[0]), DTypeNumber)
	}
	seen := map[string]bool{}
	for i, c := range s.Columns {
		if err := ValidIdentifier(c); err != nil {
			return StatusErrorf(400, "columns: %s", err)
		}
		if folded := strings.ToLower(c); seen[folded] {
			return StatusErrorf(400, "columns: %s is there twice (upper and lower case are one)", c)
		}
		seen[strings.ToLower(c)] = true
		if t := s.DTypes[i]; t != DTypeNumber && t != DTypeString {
			return StatusErrorf(400, "dtypes: %q of %s is unknown; use %s or %s", rowjson.Shorten(t), c, DTypeNumber, DTypeString)
		}
	}
	return nil
}

// Callable refuses a valid schema that calls could not use: the key's name is a
// field of theirs, beside others. What is stored already is no matter for it.
func (s *Schema) Callable() error {
	if key := s.Columns[0]; slices.Contains([]string{"table", "data", "shard", "limit", "after"}, strings.ToLower(key)) {
		return StatusErrorf(400, "columns: the key cannot be called %s, which calls have for something else", key)
	}
	return nil
}

// Equal reports whether both are the same columns.
func (s *Schema) Equal(o *Schema) bool {
	return slices.Equal(s.Columns, o.Columns) && slices.Equal(s.DTypes, o.DTypes)
}

// ReadRow reads a row as clients write it, an object with every column of the
// schema and no other. Its errors name the column.
func (s *Schema) ReadRow(object []byte) (rowjson.Row, error) {
	in := rowjson.NewReader(string(object))
	row, err := s.NextRow(&in)
	if (err != nil || !in.End()) && !json.Valid(object) {
		return nil, StatusErrorf(400, "row: not JSON")
	}
	return row, err
}

// NextRow reads a row as ReadRow does from where in is. It shares memory with
// the text of in.
func (s *Schema) NextRow(in *rowjson.Reader) (rowjson.Row, error) {
	row, err := in.Object(s.Columns)
	if err != nil {
		return nil, StatusErrorf(400, "%s", err)
	}
	return row, s.Check(row)
}

// Check accepts a row that a replica can hold: every column, of its type, the
// key a 64-bit integer. Its errors name the column.
func (s *Schema) Check(row rowjson.Row) error {
	_, err := s.CheckedKey(row)
	return err
}

// CheckedKey is Check, and the row's key.
func (s *Schema) CheckedKey(row rowjson.Row) (int64, error) {
	if len(row) != len(s.Columns) {
		return 0, StatusErrorf(400, "row: %d values for %d columns", len(row), len(s.Columns))
	}
	for i, v := range row {
		if v.IsNumber() { // bounded when it was made, and any column holds it
			continue
		}
		if err := v.Check(); err != nil {
			return 0, StatusErrorf(400, "%s: %s", s.Columns[i], err)
		}
		if s.DTypes[i] == DTypeNumber {
			return 0, StatusErrorf(400, "%s: %s is no number", s.Columns[i], v.Shown())
		}
	}
	key, err := row[0].Int64()
	if err != nil {
		return 0, StatusErrorf(400, "%s: %s", s.Columns[0], err)
	}
	return key, nil
}

// AppendRow writes a checked row as clients read it, an object.
func (s *Schema) AppendRow(to []byte, row rowjson.Row) []byte {
	to = append(to, '{')
	for i, name := range s.Columns {
		if i > 0 {
			to = append(to, ',')
		}
		to = append(append(append(to, '"'), name...), '"', ':') // identifiers need no escape
		to = row[i].Append(to)
	}
	return append(to, '}')
}

// Holds reports whether key lies in the shard.
func (s Shard) Holds(key int64) bool { return key >= s.Low && key-s.Low < s.Size && key-s.Low >= 0 }

// High is the largest key of the shard.
func (s Shard) High() int64 { return s.Low + (s.Size - 1) }

// Validate names the first thing that cannot be.
func (s Shard) Validate() error {
	if err := ValidIdentifier(s.ID); err != nil {
		return StatusErrorf(400, "shard: %s", err)
	}
	if s.Size <= 0 {
		return StatusErrorf(400, "shard %s: size %d is not positive", s.ID, s.Size)
	}
	if s.Low > 0 && s.Size-1 > math.MaxInt64-s.Low {
		return StatusErrorf(400, "shard %s: low %d and size %d reach beyond 64 bits", s.ID, s.Low, s.Size)
	}
	return nil
}

// Validate names the first thing that cannot be.
func (t *Table) Validate() error {
	if err := ValidIdentifier(t.Name); err != nil {
		return StatusErrorf(400, "table: %s", err)
	}
	if err := t.Schema.Validate(); err != nil {
		return err
	}
	if len(t.Shards) == 0 {
		return StatusErrorf(400, "shards: missing")
	}
	if len(t.Shards) > MaxShards {
		return StatusErrorf(400, "shards: %d are too many; use at most %d", len(t.Shards), MaxShards)
	}
	seen := map[string]bool{}
	for _, s := range t.Shards {
		if err := s.Validate(); err != nil {
			return err
		}
		if folded := strings.ToLower(s.ID); seen[folded] {
			return StatusErrorf(400, "shards: %s is defined twice (upper and lower case are one)", s.ID)
		}
		seen[strings.ToLower(s.ID)] = true
	}
	sorted := slices.SortedFunc(slices.Values(t.Shards), byLow)
	for i, s := range sorted[1:] {
		if sorted[i].High() >= s.Low {
			return StatusErrorf(400, "shards: %s and %s overlap", sorted[i].ID, s.ID)
		}
	}
	return nil
}

// Shard finds a shard by its id.
func (t *Table) Shard(id string) (Shard, bool) {
	i := slices.IndexFunc(t.Shards, func(s Shard) bool { return s.ID == id })
	if i < 0 {
		return Shard{}, false
	}
	return t.Shards[i], true
}

// Find finds the shard that holds key. Shards have to be in the order of Low,
// as Sort leaves them.
func (t *Table) Find(key int64) (Shard, bool) {
	i := sort.Search(len(t.Shards), func(i int) bool { return t.Shards[i].Low > key })
	if i == 0 || !t.Shards[i-1].Holds(key) {
		return Shard{}, false
	}
	return t.Shards[i-1], true
}

// Between lists the shards that hold a key from low to high, both included,
// in the order of their keys. Shards have to be in order, as for Find.
func (t *Table) Between(low, high int64) []Shard {
	var found []Shard
	for _, s := range t.Shards {
		if s.Low <= high && s.High() >= low {
			found = append(found, s)
		}
	}
	return found
}

// Sort puts the shards in the order of their keys.
func (t *Table) Sort() { slices.SortFunc(t.Shards, byLow) }

func byLow(a, b Shard) int { return cmp.Compare(a.Low, b.Low) }

// ValidIdentifier accepts names of tables, columns and shards.
func ValidIdentifier(s string) error {
	ok := s != "" && len(s) <= MaxIdentifierBytes
	for i := range len(s) {
		letter := 'a' <= s[i]|0x20 && s[i]|0x20 <= 'z'
		ok = ok && (letter || i > 0 && ('0' <= s[i] && s[i] <= '9' || s[i] == '_'))
	}
	if ok {
		return nil
	}
	return fmt.Errorf("%q is no identifier; use 1 to %d letters, digits or '_', beginning with a letter", rowjson.Shorten(s), MaxIdentifierBytes)
}

// MaxIDBytes bounds ids that Ringway makes.
const MaxIDBytes = 64

// ValidID accepts ids that we make: short, printable, no white space.
func ValidID(s string) error {
	if s == "" || len(s) > MaxIDBytes || !Printable(s) || strings.Contains(s, " ") {
		return fmt.Errorf("%q is no id; use 1 to %d printable ASCII characters without space", rowjson.Shorten(s), MaxIDBytes)
	}
	return nil
}

// Printable reports whether s is printable ASCII.
func Printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
