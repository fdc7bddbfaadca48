package shard_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"ringway/events"
	"ringway/shard"
)

func TestServer_KeepsWhatTheRouteNamesItFor(t *testing.T) {
	c := newCluster(t, "s1", "s2", "s3")
	c.keep("s1", "s2")
	for _, name := range []string{"s1", "s2"} {
		c.nodes[name].is(events.ReplicaReady)
	}
	c.keep("s1*", "s2*")
	seq := c.insert(0, 100)
	c.alike(seq, 100, "s1", "s2")
	b := c.nodes["s1"].beat()
	if b.Server != "s1" || b.Volume != "vol-s1" || !strings.HasPrefix(b.Engine, "SQLite 3.") || b.Incarnation == "" || b.Epochs[spec.Table] != c.epoch {
		t.Errorf("it says %+v", b)
	}
	if n := len(c.nodes["s3"].beat().Replicas); n != 0 {
		t.Errorf("c keeps %d replicas", n)
	}
	eventually(t, func() error {
		if r := c.nodes["s2"].replica(); r.Durable != r.Applied || r.Durable.Seq != seq {
			return fmt.Errorf("it says %+v", r)
		}
		return nil
	})
}

func TestServer_ResumesAfterARestart(t *testing.T) {
	c := newCluster(t, "s1", "s2")
	c.keep("s1*", "s2*")
	c.nodes["s1"].is(events.ReplicaReady)
	c.insert(0, 50)
	c.nodes["s2"].stop()
	c.insert(50, 100)
	c.nodes["s2"].start()
	c.nodes["s2"].is(events.ReplicaReady)
	seq := c.insert(100, 150)
	c.alike(seq, 150, "s1", "s2")
}

func TestServer_AnswersBeforeItsEngineIsThereAndSaysWhyItIsNot(t *testing.T) {
	c := newCluster(t)
	n := &node{c: c, name: "s1", dir: t.TempDir()}
	n.open = func(context.Context) (shard.Engine, string, error) {
		return nil, "", errors.New("the disk is in the post")
	}
	c.nodes["s1"] = n
	n.start()
	if code, body := call(t, "GET", "http://"+n.addr+"/heartbeat", ""); code != 200 || body != "" {
		t.Errorf("heartbeat: %d %q", code, body)
	}
	c.keep("s1")
	n.is(events.ReplicaOpening)
	eventually(t, func() error {
		if b := n.beat(); b.Detail != "the disk is in the post" || b.Engine != "" {
			return fmt.Errorf("it says %+v", b)
		}
		return nil
	})
	if code, body := call(t, "GET", n.url("rows?log=life1"), ""); code != 503 || !strings.Contains(body, "opening") {
		t.Errorf("rows: %d %s", code, body)
	}
}

func TestServer_AnswersRouters(t *testing.T) {
	c := newCluster(t, "s1")
	c.keep("s1*")
	n := c.nodes["s1"]
	n.is(events.ReplicaReady)
	r := c.do(&events.Op{Kind: events.OpInsert, Rows: []events.Row{
		{events.Int(1), events.Text("one")}, {events.Int(2), events.Int(2)}, {events.Int(5), events.Text("five")}}})
	batch, _, _ := strings.Cut(r.OpID, ".")
	for _, x := range []struct {
		method, thing, body string
		code                int
		want                string
	}{
		{"GET", "rows?log=life1&low=2&high=5", "", 200, `{"Stud_id":2,"Stud_name":2}` + "\n" + `{"Stud_id":5,"Stud_name":"five"}` + "\n#1 2\n"},
		{"GET", "rows?log=life1&low=3&high=4", "", 200, "#1 0\n"},
		{"GET", "rows?log=life1&low=5&high=1", "", 200, "#1 0\n"},
		{"POST", "get?log=life1&floor=1", `{"keys":[5,1,9,5]}`, 200, `{"Stud_id":1,"Stud_name":"one"}` + "\n" + `{"Stud_id":5,"Stud_name":"five"}` + "\n#1 2\n"},
		{"POST", "get?log=life1", `{"keys":[]}`, 400, "keys"},
		{"POST", "get?log=life1", `{"keys":["x"]}`, 400, "keys"},
		{"POST", "get?log=life1", `nonsense`, 400, "keys"},
		{"GET", "get?log=life1", "", 405, "POST"},
		{"GET", "rows?log=life2", "", 409, "life1"},
		{"GET", "rows", "", 409, "life1"},
		{"GET", "rows?log=life1&floor=x", "", 400, "floor"},
		{"GET", "rows?log=life1&low=1e3", "", 400, "low"},
		{"GET", "ops/" + batch + "?log=life1", "", 200, `"seq":1`},
		{"GET", "ops/none?log=life1", "", 404, "none"},
		{"GET", "nothing?log=life1", "", 404, "nothing"},
	} {
		code, body := call(t, x.method, n.url(x.thing), x.body)
		if code != x.code || x.code == 200 && x.want[0] != '"' && body != x.want || !strings.Contains(body, x.want) {
			t.Errorf("%s %s: %d %s; want %d %s", x.method, x.thing, code, body, x.code, x.want)
		}
	}
	if code, body := call(t, "GET", strings.Replace(n.url("rows?log=life1"), "sh1", "sh2", 1), ""); code != 409 || !strings.Contains(body, `"code":409`) {
		t.Errorf("another shard: %d %s", code, body)
	}
	if code, _ := call(t, "GET", "http://"+n.addr+"/v1/tables/StudT", ""); code != 404 {
		t.Errorf("no thing of a shard: %d", code)
	}
}
