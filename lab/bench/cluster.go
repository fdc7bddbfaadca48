package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// cluster is a running `ringway up`, known by its addresses only.
type cluster struct {
	*process
	http, admin string // base URLs
	unix        string // unix:PATH, where the same is served as at http
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
	c := &cluster{unix: "unix:" + filepath.Join(sockets, "http")}
	c.process, err = startProcess(exec.Command(binary, "up", "--data", data, "--listen", "127.0.0.1:0", "--listen", c.unix, "--admin", "127.0.0.1:0",
		"--nats", "127.0.0.1:0", "--replicas", strconv.Itoa(replicas), "--log-level", "warn"))
	if err != nil {
		_ = os.RemoveAll(sockets)
		return nil, fmt.Errorf("%w (go tool task build makes it)", err)
	}
	go func() {
		<-c.ended
		_ = os.RemoveAll(sockets) // empty, unless it was killed
	}()
	return c, c.await(ctx, 90*time.Second, func(line string) bool {
		m := readyLine.FindStringSubmatch(line)
		if m != nil {
			c.http, c.admin = m[1], m[2]
		}
		return m != nil
	})
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
	err := call(ctx, http.MethodPost, c.http+"/init", d.payload(), nil)
	return time.Since(began), err
}

// call is one request that is not measured. Its answer is JSON that is read into
// what is given, or the text of a *string; nil: the code is the answer.
func call(ctx context.Context, method, url, payload string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(payload))
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: 5 * time.Minute}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	body, err := io.ReadAll(resp.Body)
	switch text, ok := into.(*string); {
	case err != nil:
	case resp.StatusCode != http.StatusOK:
		err = fmt.Errorf("%d: %.2000s", resp.StatusCode, body)
	case ok:
		*text = string(body)
	case into != nil:
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	return nil
}

// countRange reads a range and returns how many rows came, in ascending order
// of their keys or it is an error.
func (c *cluster) countRange(ctx context.Context, low, high int64) (int, error) {
	var found struct {
		Data []struct {
			Key int64 `json:"Stud_id"`
		} `json:"data"`
	}
	if err := call(ctx, http.MethodPost, c.http+"/read", fmt.Sprintf(`{"Stud_id":{"low":%d,"high":%d}}`, low, high), &found); err != nil {
		return 0, err
	}
	last := low - 1
	for i, row := range found.Data {
		if row.Key <= last || row.Key > high {
			return 0, fmt.Errorf("read %d to %d: row %d has key %d after %d", low, high, i+1, row.Key, last)
		}
		last = row.Key
	}
	return len(found.Data), nil
}

// countServers adds up the rows of every replica.
func (c *cluster) countServers(ctx context.Context, d database) (rows int, err error) {
	for _, s := range d.servers {
		var shards map[string]any // lists of rows, and the status
		if err := call(ctx, http.MethodGet, c.http+"/read/"+s.name, "", &shards); err != nil {
			return 0, err
		}
		for _, id := range s.shards {
			found, ok := shards[id].([]any)
			if !ok {
				return 0, fmt.Errorf("%s has no rows of %s", s.name, id)
			}
			rows += len(found)
		}
	}
	return rows, nil
}

// route is what the router serves of a service or of a table.
type route struct {
	Members []endpoint `json:"members"` // of a service
	Shards  []struct {
		Replicas []endpoint `json:"replicas"`
	} `json:"shards"` // of a table
}

type endpoint struct {
	Address string `json:"address"`
}

func (c *cluster) routes(ctx context.Context) (all []route, err error) {
	return all, call(ctx, http.MethodGet, c.admin+"/routes", "", &all)
}

// metric is one of what a process reports.
func metric(ctx context.Context, base, name string) (float64, error) {
	var text string
	if err := call(ctx, http.MethodGet, base+"/metrics", "", &text); err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("%s/metrics has no %s", base, name)
}
