package shardclient

import (
	"math"
	"testing"

	"ringway/events"
	"ringway/events/shardapi"
)

func TestKeyOf(t *testing.T) {
	schema := &events.Schema{Columns: []string{"id", "name"}, DTypes: []string{"Number", "String"}}
	f := func(line string, want int64, ok bool) {
		t.Helper()
		got, err := keyOf(schema, []byte(line))
		if (err == nil) != ok || got != want {
			t.Errorf("%s: got %d %v", line, got, err)
		}
	}
	f(`{"id":5,"name":"a"}`, 5, true)
	f(`{"id":-9223372036854775808,"name":"a"}`, math.MinInt64, true)
	f(`{"name":"\"id\":7","id":5}`, 5, true)
	f(`{ "id": 5, "name":"a"}`, 5, true)
	f(`{"id":5e0,"name":"a"}`, 5, true)
	f(`{"id":"5","name":"a"}`, 0, false)
	f(`{"id":5`, 0, false)
	f(``, 0, false)
	f(`{"id":`, 0, false)
}

func TestParseEnd(t *testing.T) {
	f := func(line string, n int, want uint64, ok bool) {
		t.Helper()
		if got, err := parseEnd([]byte(line), n); (err == nil) != ok || got != want {
			t.Errorf("%q after %d: got %d %v", line, n, got, err)
		}
	}
	f(string(shardapi.AppendEnd(nil, 17, 3)), 3, 17, true)
	f("#17 3", 3, 17, true)
	f("#17 3\n", 2, 0, false)
	f("#17\n", 0, 0, false)
	f("#x 0\n", 0, 0, false)
	f("#", 0, 0, false)
}
