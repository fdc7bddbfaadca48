package sqlstore

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"ringway/events/rowjson"
	"ringway/events/shardlog"
	"ringway/shard/state"
)

// A statement for many rows exists in some sizes, so that not too many are
// prepared: every one up to 64, the usual batch of busy clients, which then
// takes one round trip. What all its parameters hold stays well below the 16 MiB that
// a server takes at once.
var sizes = func() []int {
	all := make([]int, 64)
	for i := range all {
		all[i] = i + 1
	}
	return append(all, 72, 80, 96, 112, 128, 160, 192, 224, 256)
}()

const statementSize = 2 << 20

// sized is the largest size that n items fill.
func sized(n int) int {
	i, found := slices.BinarySearch(sizes, n)
	if !found {
		i--
	}
	return sizes[i]
}

// chunks calls fn with parts of items, each of a size that has a statement and at
// most so many, until all are through.
func chunks[T any](items []T, most int, bytes func(T) int, fn func([]T) error) error {
	most = max(1, min(most, sizes[len(sizes)-1]))
	for len(items) > 0 {
		n, total := 0, 0
		for n < len(items) && n < most && (n == 0 || total+bytes(items[n]) <= statementSize) {
			total += bytes(items[n])
			n++
		}
		n = sized(n)
		if err := fn(items[:n]); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}

func arguments[T any](items []T) []any {
	args := make([]any, len(items))
	for i := range items {
		args[i] = items[i]
	}
	return args
}

// Marks is a list for IN, with a mark for each of items, the last of which is
// repeated up to a power of two: looking a thing up twice does no harm.
func Marks[T any](items []T) (list string, args []any) {
	n := 1
	for n < len(items) {
		n *= 2
	}
	args = make([]any, n)
	for i := range args {
		args[i] = items[min(i, len(items)-1)]
	}
	return marks(1, n), args
}

// marks is n times (?, ?, …) with columns marks each.
func marks(n, columns int) string {
	one := "(?" + strings.Repeat(", ?", columns-1) + ")"
	return one + strings.Repeat(", "+one, n-1)
}

func rowBytes(row rowjson.Row) int {
	n := 16
	for _, v := range row {
		n += 8 + len(v.Raw())
	}
	return n
}

// putRows writes rows with one statement for many, which ends in tail.
func (t *transaction) putRows(rows []rowjson.Row, tail string) error {
	schema := &t.spec.Schema
	width := len(schema.Columns) + 1
	return chunks(rows, t.dialect.MaxMarks/width, rowBytes, func(part []rowjson.Row) error {
		args := make([]any, 0, len(part)*width)
		for _, row := range part {
			args = append(args, row.Key())
			for _, v := range row[1:] {
				args = append(args, v.Raw())
			}
			args = append(args, state.Kinds(schema, row))
		}
		_, err := t.exec("INSERT INTO "+t.at.Rows+" ("+t.columns("")+") VALUES "+marks(len(part), width)+tail, args...)
		return err
	})
}

// overwrite is what makes an INSERT of a key that is there an update.
func (t *transaction) overwrite() string {
	var sets []string
	for _, c := range append(slices.Clone(t.spec.Schema.Columns[1:]), state.KindsColumn) {
		sets = append(sets, fmt.Sprintf(t.dialect.NewValue, t.dialect.Name(c)))
	}
	return t.dialect.Overwrite + strings.Join(sets, ", ")
}

func (t *transaction) deleteKeys(keys []int64) error {
	return chunks(keys, t.dialect.MaxMarks, func(int64) int { return 8 }, func(part []int64) error {
		_, err := t.exec("DELETE FROM "+t.at.Rows+" WHERE "+t.dialect.Name(t.spec.Schema.KeyColumn())+" IN "+marks(1, len(part)), arguments(part)...)
		return err
	})
}

func (t *transaction) forgetBatches(ids []string) error {
	return chunks(ids, t.dialect.MaxMarks, func(s string) int { return len(s) }, func(part []string) error {
		_, err := t.exec("DELETE FROM "+t.at.Results+" WHERE batch IN "+marks(1, len(part)), arguments(part)...)
		return err
	})
}

func (t *transaction) putResults(all []shardlog.KeptResults) error {
	const columns = 5
	notable := func(k shardlog.KeptResults) int { return 100 + 1000*len(k.Results.Notable) } // about: keys are bounded
	return chunks(all, t.dialect.MaxMarks/columns, notable, func(part []shardlog.KeptResults) error {
		args := make([]any, 0, len(part)*columns)
		for _, k := range part {
			r, body := k.Results, []byte{}
			if len(r.Notable) > 0 {
				var err error
				if body, err = json.Marshal(r.Notable); err != nil {
					return err
				}
			}
			args = append(args, int64(r.Seq), r.Batch, state.Nanos(k.At), int64(r.Ops), body)
		}
		_, err := t.exec("INSERT INTO "+t.at.Results+" (seq, batch, at, ops, notable) VALUES "+marks(len(part), columns), args...)
		return err
	})
}

func (t *transaction) putIdempotency(all []shardlog.KeptIdempotency) error {
	const columns = 5
	return chunks(all, t.dialect.MaxMarks/columns, func(shardlog.KeptIdempotency) int { return 2000 }, func(part []shardlog.KeptIdempotency) error {
		args := make([]any, 0, len(part)*columns)
		for _, k := range part {
			first, err := json.Marshal(k.First)
			if err != nil {
				return err
			}
			args = append(args, k.Key, k.Body, state.Nanos(k.At), k.Op, first)
		}
		_, err := t.exec("REPLACE INTO "+t.at.Keys+" (name, body, at, op, first) VALUES "+marks(len(part), columns), args...)
		return err
	})
}

// look reads what need asks for. Nobody else writes it: the position is locked.
func (t *transaction) look(need *state.Needs, into *state.Before) error {
	into.Keys = map[int64]bool{}
	into.Results = map[string]shardlog.KeptResults{}
	into.Idempotency = map[string]shardlog.KeptIdempotency{}
	key := t.dialect.Name(t.spec.Schema.KeyColumn())
	err := lookUp(t, "SELECT "+key+" FROM "+t.at.Rows+" WHERE "+key+" IN ", need.Keys, func(rows *sql.Rows) error {
		var k int64
		if err := rows.Scan(&k); err != nil {
			return err
		}
		into.Keys[k] = true
		return nil
	})
	if err != nil {
		return err
	}
	err = lookUp(t, "SELECT batch, seq, at, ops, notable FROM "+t.at.Results+" WHERE batch IN ", need.Batches, func(rows *sql.Rows) error {
		kept, err := state.ReadResults(&t.spec, rows)
		if err == nil {
			into.Results[kept.Results.Batch] = kept
		}
		return err
	})
	if err != nil {
		return err
	}
	return lookUp(t, "SELECT name, body, at, op, first FROM "+t.at.Keys+" WHERE name IN ", need.Idempotency, func(rows *sql.Rows) error {
		kept, err := state.ReadIdempotency(rows)
		if err == nil {
			into.Idempotency[kept.Key] = kept
		}
		return err
	})
}

// lookUp runs a query that ends in IN over all of keys.
func lookUp[T any](t *transaction, query string, keys []T, fn func(*sql.Rows) error) error {
	for part := range slices.Chunk(keys, min(t.dialect.MaxMarks, 1024)) {
		list, args := Marks(part)
		if err := t.each(t.ctx, t.conn, query+list, args, fn); err != nil {
			return err
		}
	}
	return nil
}
