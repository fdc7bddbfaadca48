package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
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
	want := events.InitRequest{N: 3, Table: courseTable(3, 4096), Servers: []events.Placement{
		{Name: "Server2", Shards: []string{"sh1", "sh3"}},
		{Name: "Server1", Shards: []string{"sh2", "sh3"}},
		{Name: "", Shards: []string{"sh1", "sh2"}},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// What the help of init shows is what --course makes.
func TestParseTable_TheHelpsExampleIsTheCoursesConfiguration(t *testing.T) {
	_, example, _ := strings.Cut(help(t, "init"), "this is what --course makes:\n")
	example, _, _ = strings.Cut(example, "Usage:")
	got, err := ParseTable("help", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	want := courseDatabase()
	want.Replicas, want.Engine = 3, "auto"
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if err := got.Table.Validate(); err != nil {
		t.Error(err)
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

// initial answers the request of one `ringway init`.
func initial(reply events.ServersReply, err error) (*cluster, *[]events.InitRequest) {
	var got []events.InitRequest
	return &cluster{answer: func(verb string, req, out any) error {
		got = append(got, req.(events.InitRequest))
		if err != nil || verb != events.APIInit {
			return err
		}
		*out.(*events.ServersReply) = reply
		return nil
	}}, &got
}

func TestInit(t *testing.T) {
	f := func(want events.InitRequest, args ...string) {
		t.Helper()
		c, got := initial(events.ServersReply{Table: "StudT", N: 2, Added: []string{"Server1", "Server2"}}, nil)
		code, out, errs := run(t, c.wiring(), append([]string{"init"}, args...)...)
		if code != console.ExitOK || out != "table    StudT\nservers  Server1 Server2\n" || errs != "" {
			t.Errorf("%v: code %d, stdout %q, stderr %q", args, code, out, errs)
		}
		if len(*got) != 1 || (*got)[0].ID == "" {
			t.Fatalf("%v: asked %+v", args, *got)
		}
		want.ID = (*got)[0].ID
		if !reflect.DeepEqual((*got)[0], want) {
			t.Errorf("%v: asked %+v, want %+v", args, (*got)[0], want)
		}
	}
	f(events.InitRequest{N: 6, Replicas: 3, Table: courseTable(4, 4096)})
	f(events.InitRequest{N: 2, Replicas: 2, Table: courseTable(8, 100), Engine: "sqlite"},
		"--servers", "2", "--shards", "8", "--size", "100", "--replicas", "2", "--engine", "sqlite")
	f(courseDatabase(), "--course")
	file := filepath.Join(t.TempDir(), "t.yaml")
	if err := os.WriteFile(file, []byte("N: 2\nshards: [{id: a, low: 0, size: 1}]\nengine: mysql"), 0o600); err != nil {
		t.Fatal(err)
	}
	one := events.Table{Name: "StudT", Schema: courseSchema(), Shards: []events.Shard{{ID: "a", Size: 1}}}
	f(events.InitRequest{N: 2, Table: one, Engine: "mysql"}, "--file", file)
	f(events.InitRequest{N: 2, Table: one, Engine: "auto"}, "--file", file, "--engine", "auto")

	c, _ := initial(events.ServersReply{Table: "StudT", N: 1}, nil)
	_, out, _ := run(t, c.wiring(), "init", "-o", "json")
	var reply events.ServersReply
	if err := json.Unmarshal([]byte(out), &reply); err != nil || reply.Table != "StudT" {
		t.Errorf("%v: %s", err, out)
	}
}

func TestInit_Refused(t *testing.T) {
	f := func(code int, want string, args ...string) {
		t.Helper()
		c, _ := initial(events.ServersReply{}, events.StatusErrorf(409, "table StudT is there already"))
		got, out, errs := run(t, c.wiring(), append([]string{"init"}, args...)...)
		if got != code || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%v: code %d, stdout %q, stderr %q; want %d, %q", args, got, out, errs, code, want)
		}
	}
	f(console.ExitRefused, "table StudT is there already")
	f(console.ExitUsage, "--course says all of --servers; leave one of them out", "--course", "--servers", "3")
	f(console.ExitUsage, "--file says all of --course; leave one of them out", "--course", "--file", "x")
	f(console.ExitUsage, "--servers 0", "--servers", "0")
	f(console.ExitUsage, "--shards 0", "--shards", "0")
	f(console.ExitUsage, "--size 0", "--size", "0")
	f(console.ExitUsage, "--size 9223372036854775807", "--size", "9223372036854775807")
	f(console.ExitUsage, "--replicas 0", "--replicas", "0")
	f(console.ExitUsage, `--engine "oracle" is unknown`, "--engine", "oracle")
	f(console.ExitUsage, "no such file", "--file", filepath.Join(t.TempDir(), "none"))

	late, _ := initial(events.ServersReply{}, events.StatusErrorf(504, "2 of 12 replicas are not ready; it goes on"))
	if code, _, errs := run(t, late.wiring(), "init"); code != console.ExitUnknown || !strings.Contains(errs, "it goes on") {
		t.Errorf("code %d, stderr %q", code, errs)
	}
}
