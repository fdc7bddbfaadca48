package shard_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"ringway/events"
	"ringway/internal/testkit"
	"ringway/shard"
	"ringway/shard/replica"
	"ringway/shard/storage"
)

func TestServer_LivesThroughRubbish(t *testing.T) {
	c := newCluster(t, "s1")
	c.keep("s1*")
	n := c.nodes["s1"]
	n.is(events.ReplicaReady)
	noise := make([]byte, 4096)
	_, _ = rand.Read(noise)
	for _, text := range []string{
		string(noise), "GET /\r\n\r\n", "POST /write HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
		"POST /write HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{", strings.Repeat("x", 100_000),
		"GET /v1/tables/StudT/shards/sh1/rows?log=life1&low=%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"GET /v1/tables/../../etc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
	} {
		conn, err := net.Dial("tcp", n.addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, text)
		_ = conn.(*net.TCPConn).CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		answer, _ := io.ReadAll(conn)
		_ = conn.Close()
		if bytes.HasPrefix(answer, []byte("HTTP/1.1 2")) && !bytes.Contains(answer, []byte("#0 0")) {
			t.Errorf("%.60q is answered %.200q", text, answer)
		}
	}
	// The server does not read it to its end: at times the client is cut off
	// before it has read the answer.
	testkit.Eventually(t, func() error {
		response, err := client.Post("http://"+n.addr+"/write", "application/json", strings.NewReader(strings.Repeat(" ", 9<<20)))
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if body, err := io.ReadAll(response.Body); err != nil || response.StatusCode != 413 || !bytes.Contains(body, []byte("too long")) {
			return fmt.Errorf("a large body: %d %s %w", response.StatusCode, body, err)
		}
		return nil
	})
	big := `{"shard":"sh1","data":[` + strings.Repeat(`{"Stud_id":1,"Stud_name":"`+strings.Repeat("x", 60_000)+`"},`, 20)
	for i := range 20 { // ids of their own
		big = strings.Replace(big, `"Stud_id":1,`, `"Stud_id":`+strings.Repeat("9", 1)+string(rune('0'+i/10))+string(rune('0'+i%10))+`,`, 1)
	}
	if code, body := call(t, "POST", "http://"+n.addr+"/write", strings.TrimSuffix(big, ",")+"]}"); code != 413 || !strings.Contains(body, "too many") {
		t.Errorf("a large op: %d %s", code, body)
	}
	for _, route := range []string{`{`, `{"table":{"name":"StudT"}}`} {
		v, err := c.bucket.Update(t.Context(), events.TableKey(spec.Table), []byte(route), c.epoch)
		if err != nil {
			t.Fatal(err)
		}
		c.epoch = v
	}
	if seq := c.insert(0, 10); n.state(seq).Rows != 10 {
		t.Error("it does not go on")
	}
	n.is(events.ReplicaReady)
}

// deaf watches, and receives nothing until it is asked a second time.
type deaf struct {
	mu    sync.Mutex
	asked int
	entry events.Entry
}

func (d *deaf) Watch(ctx context.Context, _ string, fn func(events.Entry)) error {
	d.mu.Lock()
	d.asked++
	first, e := d.asked == 1, d.entry
	d.mu.Unlock()
	if !first {
		fn(e)
	}
	<-ctx.Done()
	return nil
}

func TestServer_ReadsTheRoutesAgainWhenTheLeaderIsAhead(t *testing.T) {
	c := newCluster(t, "s1")
	c.keep("s1*")
	value, err := c.bucket.Get(t.Context(), events.TableKey(spec.Table))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := shard.DefaultConfig()
	cfg.ID, cfg.Listener = "s9", listener
	open := func(ctx context.Context) (storage.Engine, string, error) { <-ctx.Done(); return nil, "", ctx.Err() }
	s, err := shard.New(cfg, open, func(id events.LogID) replica.Log { return c.conn.Log(id) }, &deaf{entry: value}, c.conn, testkit.Quiet)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	n := &node{c: c, name: "s9", addr: listener.Addr().String()}
	testkit.Eventually(t, func() error {
		if err := c.conn.Publish(events.HeartbeatController, events.ControllerHeartbeat{Controller: "c1", Tables: map[string]events.Epoch{spec.Table: c.epoch}}); err != nil {
			return err
		}
		if b := n.status(); b.Epochs[spec.Table] != c.epoch {
			return io.ErrNoProgress
		}
		return nil
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
