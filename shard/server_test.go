package shard_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardapi"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
	"ringway/shard"
	"ringway/shard/storage"
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
	b := c.nodes["s1"].status()
	if b.Server != "s1" || b.Volume != "vol-s1" || !strings.HasPrefix(b.Engine, "SQLite 3.") || b.Incarnation == "" || b.Epochs[spec.Table] != c.epoch {
		t.Errorf("it says %+v", b)
	}
	if n := len(c.nodes["s3"].status().Replicas); n != 0 {
		t.Errorf("c keeps %d replicas", n)
	}
	testkit.Eventually(t, func() error {
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
	n.open = func(context.Context) (storage.Engine, string, error) {
		return nil, "", errors.New("the disk is in the post")
	}
	c.nodes["s1"] = n
	n.start()
	if code, body := call(t, "GET", "http://"+n.addr+"/heartbeat", ""); code != 200 || body != "" {
		t.Errorf("heartbeat: %d %q", code, body)
	}
	c.keep("s1")
	n.is(events.ReplicaOpening)
	testkit.Eventually(t, func() error {
		if b := n.status(); b.Detail != "the disk is in the post" || b.Engine != "" {
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
	r := c.do(&shardlog.Op{Kind: shardlog.OpInsert, Rows: []rowjson.Row{
		{rowjson.Int(1), rowjson.Text("one")}, {rowjson.Int(2), rowjson.Int(2)}, {rowjson.Int(5), rowjson.Text("five")}}})
	batch, _, _ := strings.Cut(r.OpID(), ".")
	for _, x := range []struct {
		method, thing, body string
		code                int
		want                string
	}{
		{"GET", "rows?log=life1&low=2&high=5", "", 200, "@1\n" + `{"Stud_id":2,"Stud_name":2}` + "\n" + `{"Stud_id":5,"Stud_name":"five"}` + "\n#1 2\n"},
		{"GET", "rows?log=life1&low=3&high=4", "", 200, "#1 0\n"},
		{"GET", "rows?log=life1&low=5&high=1", "", 200, "#1 0\n"},
		{"POST", "rows?log=life1", "", 405, "GET"},
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

func TestServer_AnswersRowsByKeyOfManyShards(t *testing.T) {
	c := newCluster(t, "s1")
	n := c.nodes["s1"]
	n.restart(func(cfg *shard.Config) { cfg.ReadWait = 50 * time.Millisecond })
	c.keep("s1*")
	n.is(events.ReplicaReady)
	c.do(&shardlog.Op{Kind: shardlog.OpInsert, Rows: []rowjson.Row{{rowjson.Int(1), rowjson.Text("one")}, {rowjson.Int(5), rowjson.Text("five")}}})
	const (
		part   = `{"table":"StudT","shard":"sh1","log":"life1","floor":1,"keys":[5,1,9,5]}`
		found  = `{"Stud_id":1,"Stud_name":"one"}` + "\n" + `{"Stud_id":5,"Stud_name":"five"}` + "\n#1 2\n"
		absent = `{"table":"StudT","shard":"sh1","log":"life1","keys":[7]}`
	)
	for _, x := range []struct {
		body string
		code int
		want string // a regular expression
	}{
		{"[" + part + "]", 200, found},
		{"[" + absent + "," + part + "]", 200, "#1 0\n" + found},
		{`[{"table":"StudT","shard":"sh7","log":"life1","keys":[1]},` + part + "]", 200, `!{"code":409,"message":"shard sh7[^\n]*}` + "\n" + found},
		{`[{"table":"StudT","shard":"sh1","log":"life2","keys":[1]},` + part + "]", 200, `!{"code":409,"message":"[^\n]*life1[^\n]*}` + "\n" + found},
		{"[" + part + `,{"table":"StudT","shard":"sh1","log":"life1","floor":2,"keys":[1]}]`, 200, found + `!{"code":503,[^\n]*}` + "\n"},
		{`[]`, 400, ".*0 parts"},
		{`[{"table":"StudT","shard":"sh1","log":"life1","keys":[]}]`, 400, ".*part 0: no keys"},
		{`[{"table":"StudT","shard":"sh1","log":"life1","keys":["x"]}]`, 400, ".*no list of parts"},
		{`[{"table":"StudT","shard":"sh1","log":"life1","keys":[` + strings.Repeat("1,", shardapi.MaxGetKeys) + `1]}]`, 400, ".*1025 keys"},
		{`nonsense`, 400, ".*no list of parts"},
	} {
		code, body := call(t, "POST", "http://"+n.addr+shardapi.GetPath, x.body)
		if code != x.code || !regexp.MustCompile("^"+x.want).MatchString(body) {
			t.Errorf("%.200s: %d %q; want %d %q", x.body, code, body, x.code, x.want)
		}
	}
}

func TestServer_ANewResponderPublishesWhatAnotherMayNotHave(t *testing.T) {
	c := newCluster(t, "s1")
	n := c.nodes["s1"]
	n.restart(func(cfg *shard.Config) { cfg.Applier.Republish = time.Hour }) // no clock in this test
	c.keep("s1*")
	c.route.Shards[0].Responder = "" // nobody answers writers
	c.put()
	n.is(events.ReplicaReady)
	testkit.Eventually(t, func() error { // it may be ready since the route before
		if b := n.status(); b.Epochs[spec.Table] != c.epoch {
			return fmt.Errorf("it says %+v", b)
		}
		return nil
	})
	answers := make(chan shardlog.Results, 100)
	stop, err := c.conn.Listen(events.AllResults("w1"), func(_ string, data []byte) {
		if r, err := shardlog.DecodeResults(data); err == nil {
			answers <- r
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for i := range 3 {
		c.append(fmt.Sprintf("b%d", i), shardlog.Op{Kind: shardlog.OpInsert, Rows: []rowjson.Row{{rowjson.Int(int64(i)), rowjson.Text("x")}}})
	}
	n.state(3)
	select {
	case r := <-answers:
		t.Fatalf("a replica that is not the responder answers %+v", r)
	default:
	}
	c.route.Shards[0].Responder = "s1"
	c.put()
	for i := range 3 {
		select {
		case r := <-answers:
			if r.Batch != fmt.Sprintf("b%d", i) || r.Seq != uint64(i+1) {
				t.Errorf("result %d is %+v", i, r)
			}
		case <-time.After(testkit.Patience):
			t.Fatal("nobody answers")
		}
	}
	c.append("b3", shardlog.Op{Kind: shardlog.OpBarrier})
	if r := <-answers; r.Batch != "b3" {
		t.Errorf("then %+v", r)
	}
}

func TestServer_AReadWaitsForItsFloor(t *testing.T) {
	c := newCluster(t, "s1")
	n := c.nodes["s1"]
	n.restart(func(cfg *shard.Config) { cfg.ReadWait = 200 * time.Millisecond })
	c.keep("s1*")
	n.is(events.ReplicaReady)
	if code, body := call(t, "GET", n.url("rows?log=life1&floor=1"), ""); code != 503 || !strings.Contains(body, "not yet at 1") {
		t.Errorf("beyond the log: %d %s", code, body)
	}
	n.restart(func(cfg *shard.Config) { cfg.ReadWait = time.Minute })
	c.keep("s1*")
	n.is(events.ReplicaReady)
	answer := make(chan string)
	go func() {
		_, body := call(t, "GET", n.url("rows?log=life1&floor=2"), "")
		answer <- body
	}()
	c.append("b0", shardlog.Op{Kind: shardlog.OpInsert, Rows: []rowjson.Row{{rowjson.Int(0), rowjson.Text("x")}}})
	c.append("b1", shardlog.Op{Kind: shardlog.OpInsert, Rows: []rowjson.Row{{rowjson.Int(1), rowjson.Text("y")}}})
	if body := <-answer; !strings.HasSuffix(body, "#2 2\n") {
		t.Errorf("got %s", body)
	}
}

func TestServer_EveryReplicaSaysItsDigestAtTheMarker(t *testing.T) {
	c := newCluster(t, "s1", "s2")
	c.keep("s1*", "s2*")
	for _, n := range c.nodes {
		n.is(events.ReplicaReady)
	}
	var marks []string
	for i := range int64(2) { // as many as there are at once; what follows a marker is not in its digest, however they are gathered
		c.append(fmt.Sprintf("i%d", i), shardlog.Op{Kind: shardlog.OpInsert, Rows: []rowjson.Row{{rowjson.Int(i), rowjson.Text("x")}}})
		c.append(fmt.Sprintf("m%d", i), shardlog.Op{Kind: shardlog.OpDigest})
		marks = append(marks, fmt.Sprintf("m%d", i))
	}
	c.append("i2", shardlog.Op{Kind: shardlog.OpInsert, Rows: []rowjson.Row{{rowjson.Int(2), rowjson.Text("x")}}})
	got := map[string][]shardlog.Digest{}
	for range 2 * len(marks) {
		select {
		case d := <-c.digests:
			got[d.Batch] = append(got[d.Batch], d)
		case <-time.After(testkit.Patience):
			t.Fatalf("there are %+v", got)
		}
	}
	for i, m := range marks {
		d := got[m]
		if len(d) != 2 || d[0].Server == d[1].Server || d[0].State != d[1].State || d[0].State.Rows != int64(i+1) || d[0].State.Position.Batch != m || d[0].Error != "" {
			t.Errorf("at %s: %+v", m, d)
		}
	}
}

// Clients that take their time hold neither appliers nor digests up.
func TestServer_SlowClientsHoldUpNobody(t *testing.T) {
	c := newCluster(t, "s1")
	n := c.nodes["s1"]
	n.restart(func(cfg *shard.Config) { cfg.ReadWait, cfg.WriteTimeout = 50*time.Millisecond, time.Hour })
	c.keep("s1*")
	n.is(events.ReplicaReady)
	var rows []rowjson.Row
	for key := range int64(14) {
		rows = append(rows, rowjson.Row{rowjson.Int(key), rowjson.Text(strings.Repeat("x", 60_000))})
	}
	var seq uint64
	for range 20 { // more than sockets hold
		seq = c.do(&shardlog.Op{Kind: shardlog.OpInsert, Rows: rows}).Seq
		for i := range rows {
			rows[i][0] = rowjson.Int(rows[i].Key() + int64(len(rows)))
		}
	}
	n.state(seq)
	served, refused := 0, 0
	for range 10 {
		conn, err := net.Dial("tcp", n.addr)
		testkit.Must(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		testkit.Must(t, conn.(*net.TCPConn).SetReadBuffer(4096))
		_, err = fmt.Fprintf(conn, "GET %s?log=life1 HTTP/1.1\r\nHost: x\r\n\r\n", shardapi.Path(spec.Table, spec.Shard.ID, "rows"))
		testkit.Must(t, err)
		status, err := bufio.NewReaderSize(conn, 16).ReadString('\n')
		testkit.Must(t, err)
		switch {
		case strings.Contains(status, " 200 "):
			served++
		case strings.Contains(status, " 503 "):
			refused++
		}
	}
	if served < 2 || served+refused != 10 {
		t.Errorf("%d were served, %d refused", served, refused)
	}
	c.append("marker", shardlog.Op{Kind: shardlog.OpDigest})
	select {
	case d := <-c.digests:
		if d.Error != "" || d.State.Rows != 280 {
			t.Errorf("the digest is %+v", d)
		}
	case <-time.After(testkit.Patience):
		t.Error("there is no digest")
	}
	n.state(c.do(&shardlog.Op{Kind: shardlog.OpBarrier}).Seq)
}

// A database that lost its newest transactions, as one may that does not sync,
// is not read until they are there again.
func TestServer_NoticesADatabaseThatWentBack(t *testing.T) {
	c := newCluster(t, "s1")
	n := c.nodes["s1"]
	c.keep("s1*")
	n.is(events.ReplicaReady)
	earlier := n.state(c.insert(0, 10)).Position
	f := func(keys int64, thing string) {
		t.Helper()
		seq := c.do(&shardlog.Op{Kind: shardlog.OpInsert, Rows: []rowjson.Row{{rowjson.Int(keys - 1), rowjson.Text("x")}}}).Seq
		at := n.state(seq).Position
		testkit.Eventually(t, func() error { // or that would notice
			if r := n.replica(); r.Durable != at {
				return fmt.Errorf("it says %+v", r)
			}
			return nil
		})
		store, err := n.engine.Open(t.Context(), spec.Table, spec.Shard.ID)
		testkit.Must(t, err)
		testkit.Must(t, store.Rebase(t.Context(), at, earlier))
		if _, body := call(t, "GET", n.url(thing), ""); strings.Contains(body, "#") { // the mark of an end
			t.Errorf("it answers %s", body)
		}
		want := fmt.Sprintf("#%d %d\n", seq, keys)
		testkit.Eventually(t, func() error {
			if code, body := call(t, "GET", n.url("rows?log=life1&floor="+fmt.Sprint(seq)), ""); code != 200 || !strings.HasSuffix(body, want) {
				return fmt.Errorf("%d %s, want %s", code, body, want)
			}
			return nil
		})
	}
	f(11, "rows?log=life1&floor=2")
	f(12, "rows?log=life1&low=0&high=5")
}

func TestServer_FollowsTheRoutesOfALeaderThatIsAhead(t *testing.T) {
	c := newCluster(t, "s1")
	c.keep("s1*")
	n := c.nodes["s1"]
	n.is(events.ReplicaReady)
	// What is not wanted any more is not read, and not erased.
	seq := c.insert(0, 10)
	n.state(seq)
	c.add("s2")
	c.keep("s2")
	testkit.Eventually(t, func() error {
		if b := n.status(); len(b.Replicas) != 0 || b.Epochs[spec.Table] != c.epoch {
			return fmt.Errorf("it says %+v", b)
		}
		return nil
	})
	if code, _ := call(t, "GET", n.url("rows?log=life1"), ""); code != 409 {
		t.Errorf("it is read: %d", code)
	}
	c.keep("s1*")
	n.is(events.ReplicaReady)
	c.alike(seq, 10, "s1")
	// A deletion by a bus that was wiped is no order; by this one it is.
	if err := c.bucket.Delete(t.Context(), events.TableKey(spec.Table), c.epoch); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, func() error {
		if b := n.status(); len(b.Replicas) != 0 || len(b.Epochs) != 0 {
			return fmt.Errorf("it says %+v", b)
		}
		return nil
	})
}
