package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"ringway/cli/console"
	"ringway/events"
)

// The payload of assignment 2, word for word.
const courseInit = `{"N":3,"schema":{"columns":["Stud_id","Stud_name","Stud_marks"],"dtypes":["Number","String","String"]},
	"shards":[{"Stud_id_low":0,"Shard_id":"sh1","Shard_size":4096},
		{"Stud_id_low":4096,"Shard_id":"sh2","Shard_size":4096},
		{"Stud_id_low":8192,"Shard_id":"sh3","Shard_size":4096}],
	"servers":{"Server2":["sh1","sh3"],"Server1":["sh2","sh3"],"Server[5]":["sh1","sh2"]}}`

func TestParseTable_TheCoursesJSON(t *testing.T) {
	got, err := ParseTable("init.json", []byte(courseInit))
	if err != nil {
		t.Fatal(err)
	}
	want := events.InitRequest{N: 3, Table: CourseTable(3, 4096), Servers: []events.Placement{
		{Name: "Server2", Shards: []string{"sh1", "sh3"}},
		{Name: "Server1", Shards: []string{"sh2", "sh3"}},
		{Name: "", Shards: []string{"sh1", "sh2"}},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestParseTable_LittleIsNeeded(t *testing.T) {
	got, err := ParseTable("t.yaml", []byte("servers: 4\nshards: [{id: a, low: -5, size: 10}]\n"))
	if err != nil || got.N != 4 || got.Table.Name != events.DefaultTable || !slices.Equal(got.Table.Shards, []events.Shard{{ID: "a", Low: -5, Size: 10}}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestParseTable_FaultsHaveTheirPlace(t *testing.T) {
	f := func(want, text string) {
		t.Helper()
		_, err := ParseTable("t.yaml", []byte(text))
		if err == nil || err.Error() != "t.yaml:"+want {
			t.Errorf("%s\ngot  %v\nwant t.yaml:%s", text, err, want)
		}
	}
	const shard = "shards: [{id: sh1, low: 0, size: 10}]\n"
	f("1:1: the file is empty; it needs shards, and servers or N", "")
	f("1:1: shards: missing; add some, like shards: [{id: sh1, low: 0, size: 4096}]", "N: 1")
	f("1:1: N: missing; say how many servers, or name them under servers", shard)
	f(`1:1: unknown key "shard"; did you mean "shards"?`, "shard: []")
	f("2:1: N is there twice; keep one", "n: 1\nN: 1\n"+shard)
	f(`1:4: N: want a number of servers from 1 to 500, got the number 0`, "N: 0\n"+shard)
	f(`1:11: replicas: want a number of copies from 1 to 500, got the text "x"`, "replicas: x\nN: 1\n"+shard)
	f(`1:9: engine: want auto, mysql or sqlite, got the text "postgres"`, "engine: postgres\nN: 1\n"+shard)
	f(`1:8: table: "1st" is no identifier; use 1 to 48 letters, digits or '_', beginning with a letter`, "table: 1st\n"+shard)
	f(`1:9: shards: want a list, like [{id: sh1, low: 0, size: 4096}], got a list`, "shards: []\nN: 1")
	f(`2:5: shard sh1: size 0 is not positive`, "shards:\n  - id: sh1\n    low: 0\n    size: 0\n")
	f(`3:5: shards: sh1 and sh2 overlap`, "shards:\n  - {id: sh1, low: 0, size: 10}\n  - {id: sh2, low: 9, size: 10}\n")
	f(`3:5: shards: SH1 is defined twice (upper and lower case are one)`, "shards:\n  - {id: sh1, low: 0, size: 10}\n  - {id: SH1, low: 10, size: 10}\n")
	f(`1:10: shards[0]: size is missing`, "shards: [{id: sh1, low: 0}]")
	f(`1:20: shards[0]: unknown key "Stud_low"; use id, low and size, or Shard_id, Stud_id_low and Shard_size`, "shards: [{id: sh1, Stud_low: 0, size: 1}]")
	f(`1:28: shards[0]: low is there twice; keep one`, "shards: [{id: sh1, low: 0, Stud_id_low: 0, size: 1}]")
	f(`1:25: shards[0].low: want a whole number, got the text "0"`, `shards: [{id: sh1, low: "0", size: 1}]`)
	f(`2:21: servers.S1: shard "sh2" is not defined`, shard+"servers: {S1: [sh1, sh2]}")
	f(`3:13: servers.S1: shard "sh1" is there twice`, shard+"servers:\n  S1: [sh1, sh1]")
	f(`3:19: servers: S2 is one more than N, which is 1`, shard+"N: 1\nservers: {S1: [], S2: []}")
	f(`3:19: this is no YAML: mapping key "S1" already defined at [3:11]`, "N: 2\n"+shard+"servers: {S1: [], S1: []}")
	f(`3:11: schema.dtypes: "Text" of b is unknown; use Number or String`, "schema:\n  columns: [a, b]\n  dtypes: [Number, Text]\n")
	f(`1:1: schema.dtypes: 0 for 1 columns`, "schema:\n  columns: [a]\n")
	f(`1:23: schema.columns[1]: want text; put it in quotes, got the number 7`, "schema: {columns: [a, 7]}")
}

func TestLoadTable_AnotherFileHasAnotherHash(t *testing.T) {
	file := filepath.Join(t.TempDir(), "t.yaml")
	digest := func(text string) string {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		w, err := LoadTable(file)
		if err != nil {
			t.Fatal(err)
		}
		return w.ConfigHash
	}
	a, b := digest(courseInit), digest("N: 1\nshards: [{id: a, low: 0, size: 1}]")
	if a == "" || a == b || a != digest(courseInit) {
		t.Errorf("digests %q, %q", a, b)
	}
	if _, err := LoadTable(file + "x"); err == nil || console.ExitCode(err) != console.ExitUsage {
		t.Errorf("no file: %v", err)
	}
}
