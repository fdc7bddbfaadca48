package shardapi

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"
)

func someParts() []GetPart {
	return []GetPart{
		{Table: "StudT", Shard: "sh1", Log: "life1", MinSeq: 7, Keys: []int64{1, -2, 0, math.MaxInt64, math.MinInt64}},
		{Table: "StudT", Shard: "sh2", Log: `<"life">`, Keys: []int64{5}},
	}
}

// What routers write is JSON as the library writes it, and has to be read on
// the fast path, or it is none.
func TestGetPart_AppendWritesWhatTheLibraryWritesAndIsReadWithoutIt(t *testing.T) {
	parts := someParts()
	want, err := json.Marshal(parts)
	if err != nil {
		t.Fatal(err)
	}
	got := parts[1].Append(append(parts[0].Append([]byte("[")), ','))
	if got = append(got, ']'); string(got) != string(want) {
		t.Errorf("got %s, want %s", got, want)
	}
	if read, ok := scanParts(string(want)); !ok || !reflect.DeepEqual(read, parts) {
		t.Errorf("%v: got %+v, want %+v", ok, read, parts)
	}
}

// FuzzScanGet compares with the standard library's decoder.
func FuzzScanGet(f *testing.F) {
	body, err := json.Marshal(someParts())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	for _, end := range []string{`"keys":[1]}]`, `"keys":[]}]`, `"keys":[01]}]`, `"keys":[-0]}]`, `"keys":[1-2]}]`, `"floor":-1,"keys":[1]}]`, `"floor":18446744073709551615,"keys":[1]}]`,
		`"keys":[1e3]}]`, `"keys":[9223372036854775808]}]`, `"keys":[1]}] `, `"keys":[1],"more":2}]`, `"keys":[1]}`, `"keys":[1]},]`} {
		f.Add([]byte(`[{"table":"t","shard":"s","log":"l",` + end))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := scanParts(string(b))
		if !ok {
			return
		}
		var want []GetPart
		if err := json.Unmarshal(b, &want); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: got %+v, the library %+v, %v", b, got, want, err)
		}
	})
}
