package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"ringway/cli/config"
	"ringway/cli/console"
	"ringway/events"
)

// What the help of init shows is what --course makes.
func TestParseTable_TheHelpsExampleIsTheCoursesConfiguration(t *testing.T) {
	_, example, _ := strings.Cut(help(t, "init"), "this is what --course makes:\n")
	example, _, _ = strings.Cut(example, "Usage:")
	got, err := config.ParseTable("help", []byte(example))
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
	f(events.InitRequest{N: 6, Replicas: 3, Table: config.CourseTable(4, 4096)})
	f(events.InitRequest{N: 2, Replicas: 2, Table: config.CourseTable(8, 100), Engine: "sqlite"},
		"--servers", "2", "--shards", "8", "--size", "100", "--replicas", "2", "--engine", "sqlite")
	f(courseDatabase(), "--course")
	file := filepath.Join(t.TempDir(), "t.yaml")
	if err := os.WriteFile(file, []byte("N: 2\nshards: [{id: a, low: 0, size: 1}]\nengine: mysql"), 0o600); err != nil {
		t.Fatal(err)
	}
	one := events.Table{Name: "StudT", Schema: config.CourseSchema(), Shards: []events.Shard{{ID: "a", Size: 1}}}
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
