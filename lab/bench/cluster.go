package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cluster is a running `ringway up`, known by its addresses only.
type cluster struct {
	cmd         *exec.Cmd
	http, admin string        // base URLs
	unix        string        // unix:PATH, where the same is served as at http
	ended       chan struct{} // closed when it has ended
	end         error         // how; read it after the end, like
	stderr      *bytes.Buffer // its stderr
}

var readyLine = regexp.MustCompile(`^ready\s+http (http://\S+)\s+admin (http://\S+)`)

// start starts a cluster on free ports, with replicas of the sample service and
// without a database.
func start(ctx context.Context, o options, replicas int) (*cluster, error) {
	binary, err := filepath.Abs(o.binary)
	if err != nil {
		return nil, err
	}
	data, err := os.MkdirTemp(o.dir, "up-")
	if err != nil {
		return nil, err
	}
	sockets, err := os.MkdirTemp("", "bench-") // o.dir may be too long for a socket
	if err != nil {
		return nil, err
	}
	c := &cluster{unix: "unix:" + filepath.Join(sockets, "http"), ended: make(chan struct{}), stderr: &bytes.Buffer{}}
	c.cmd = exec.Command(binary, "up", "--data", data, "--listen", "127.0.0.1:0", "--listen", c.unix, "--admin", "127.0.0.1:0", "--nats", "127.0.0.1:0", "--replicas", strconv.Itoa(replicas), "--log-level", "warn")
	c.cmd.Stderr = c.stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ctrl-C is ours to pass on
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		_ = os.RemoveAll(sockets)
		return nil, fmt.Errorf("start %s (go tool task build makes it): %w", binary, err)
	}
	ready := make(chan []string, 1)
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			if m := readyLine.FindStringSubmatch(s.Text()); m != nil {
				ready <- m
			}
		}
		c.end = c.cmd.Wait()
		_ = os.RemoveAll(sockets) // empty, unless it was killed
		close(c.ended)
	}()
	select {
	case m := <-ready:
		c.http, c.admin = m[1], m[2]
		return c, nil
	case <-c.ended:
		return nil, fmt.Errorf("ringway up ended: %w\n%s", c.end, c.stderr)
	case <-time.After(90 * time.Second):
		err = errors.New("ringway up was not ready within 90 s")
	case <-ctx.Done():
		err = ctx.Err()
	}
	c.stop()
	return nil, fmt.Errorf("%w\n%s", err, c.stderr)
}

// stop stops it as ctrl-C does, and makes it after a minute.
func (c *cluster) stop() {
	_ = c.cmd.Process.Signal(os.Interrupt) // fails if it has ended
	select {
	case <-c.ended:
	case <-time.After(time.Minute):
		_ = c.cmd.Process.Kill()
		<-c.ended
	}
}

// database is what /init is asked for.
type database struct {
	shards   int
	size     int64
	replicas int
	servers  []server // in order
}

type server struct {
	name   string
	shards []string
}

// spread places replicas copies of each shard on servers in turn.
func spread(servers, shards, replicas int, size int64) database {
	d := database{shards: shards, size: size, replicas: replicas}
	for i := range servers {
		d.servers = append(d.servers, server{name: fmt.Sprintf("Server%d", i)})
	}
	for s := range shards {
		for k := range replicas {
			to := &d.servers[(s*replicas+k)%servers]
			to.shards = append(to.shards, shardID(s))
		}
	}
	return d
}

func shardID(i int) string { return fmt.Sprintf("sh%d", i+1) }

func (d database) keys() int64 { return int64(d.shards) * d.size }

// payload is the body of /init, its servers in order.
func (d database) payload() string {
	var shards, servers []string
	for i := range d.shards {
		shards = append(shards, fmt.Sprintf(`{"Stud_id_low":%d,"Shard_id":%q,"Shard_size":%d}`, int64(i)*d.size, shardID(i), d.size))
	}
	for _, s := range d.servers {
		servers = append(servers, fmt.Sprintf(`%q:["%s"]`, s.name, strings.Join(s.shards, `","`)))
	}
	return fmt.Sprintf(`{"N":%d,"schema":{"columns":["Stud_id","Stud_name","Stud_marks"],"dtypes":["Number","String","String"]},"shards":[%s],"servers":{%s}}`,
		len(d.servers), strings.Join(shards, ","), strings.Join(servers, ","))
}

// init makes the database and returns how long that took.
func (c *cluster) init(ctx context.Context, d database) (time.Duration, error) {
	began := time.Now()
	body, err := c.call(ctx, http.MethodPost, "/init", d.payload())
	if err != nil {
		return 0, err
	}
	_, _ = io.Copy(io.Discard, body) // the code is the answer
	return time.Since(began), body.Close()
}

// call is one request that is not measured.
func (c *cluster) call(ctx context.Context, method, path, payload string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.http+path, strings.NewReader(payload))
	if err != nil {
		return nil, err
	}
	client := &http.Client{Timeout: 5 * time.Minute}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 2000)) // for the message only
		_ = resp.Body.Close()
		return nil, fmt.Errorf("%s %s: %d: %s", method, path, resp.StatusCode, b)
	}
	return resp.Body, nil
}

// countRange reads a range and returns how many rows came, in ascending order
// of their keys or it is an error.
func (c *cluster) countRange(ctx context.Context, low, high int64) (rows int, err error) {
	body, err := c.call(ctx, http.MethodPost, "/read", fmt.Sprintf(`{"Stud_id":{"low":%d,"high":%d}}`, low, high))
	if err != nil {
		return 0, err
	}
	defer func() { _ = body.Close() }() // it was read
	in := json.NewDecoder(bufio.NewReaderSize(body, 1<<20))
	for {
		token, err := in.Token()
		if err != nil {
			return 0, fmt.Errorf("read %d to %d: %w", low, high, err)
		}
		if token == "data" {
			break
		}
	}
	if _, err := in.Token(); err != nil {
		return 0, err
	}
	last := low - 1
	for in.More() {
		var row struct {
			Key int64 `json:"Stud_id"`
		}
		if err := in.Decode(&row); err != nil {
			return 0, fmt.Errorf("read %d to %d, row %d: %w", low, high, rows+1, err)
		}
		if row.Key <= last || row.Key > high {
			return 0, fmt.Errorf("read %d to %d: row %d has key %d after %d", low, high, rows+1, row.Key, last)
		}
		last = row.Key
		rows++
	}
	_, err = io.Copy(io.Discard, io.MultiReader(in.Buffered(), body)) // a stream that was cut ends here
	return rows, err
}

// countServers adds up the rows of every replica.
func (c *cluster) countServers(ctx context.Context, d database) (rows int, err error) {
	for _, s := range d.servers {
		body, err := c.call(ctx, http.MethodGet, "/read/"+s.name, "")
		if err != nil {
			return 0, err
		}
		var shards map[string]json.RawMessage
		err = json.NewDecoder(body).Decode(&shards)
		_ = body.Close() // it was read
		if err != nil {
			return 0, fmt.Errorf("rows of %s: %w", s.name, err)
		}
		for _, id := range s.shards {
			var found []json.RawMessage
			if err := json.Unmarshal(shards[id], &found); err != nil {
				return 0, fmt.Errorf("rows of %s on %s: %w", id, s.name, err)
			}
			rows += len(found)
		}
	}
	return rows, nil
}
