// Package shardclient asks one shard server over its HTTP API. Reads by key
// share requests; see coalescer.
package shardclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"ringway/events"
	"ringway/events/shardapi"
	"ringway/events/shardlog"
	"ringway/router/database/background"
	"ringway/router/upstream"
)

// Config is what can be tuned. Start from DefaultConfig.
type Config struct {
	Try         time.Duration // until a server answers, which may wait for a minimum seq; above what shard servers wait
	Stall       time.Duration // a server may pause this long within an answer
	Connect     time.Duration // a connection to a shard server
	Keep        time.Duration // an unused connection
	Hedge       time.Duration // until another replica is asked too
	Avoid       time.Duration // a replica that failed is no first choice for this long
	Stagger     time.Duration // a request for rows by key lets others of its server wait for this long
	MaxInFlight int           // requests for rows by key at one server at a time
}

// DefaultConfig is what `ringway up` uses.
func DefaultConfig() Config {
	return Config{
		Try: 3 * time.Second, Stall: 10 * time.Second, Connect: time.Second, Keep: 4 * time.Second,
		Hedge: 250 * time.Millisecond, Avoid: time.Second, Stagger: 10 * time.Millisecond, MaxInFlight: 8,
	}
}

// Client asks one server.
type Client struct {
	address string
	cfg     *Config
	pool    *upstream.Pool
	group   *background.Group

	eventual coalescer // rows by key without a minimum seq
	upToDate coalescer // those with one, which others need not wait for
}

// New is a client of the server at address. Its requests for rows by key are
// sent within group.
func New(cfg *Config, address string, group *background.Group) *Client {
	return &Client{
		address: address, cfg: cfg, group: group,
		pool: upstream.NewPool(address, upstream.Config{Connect: cfg.Connect, Keep: cfg.Keep, MaxHeader: maxHeader}),
	}
}

// Address is where the server listens.
func (c *Client) Address() string { return c.address }

// Expire ends connections that nobody has used since at.
func (c *Client) Expire(at time.Time) { c.pool.Expire(at) }

// Retire keeps no connection any more, and gives up requests that have no
// answer yet: the server may hang, and another may answer them.
func (c *Client) Retire() {
	c.pool.Retire()
	c.pool.Abandon()
}

// maxResults is the size of the largest answer to what became of a batch:
// every op of the largest one with all the keys that are listed.
const maxResults = 64 << 20

// Results are what became of a batch; events.ErrNotFound if the server does not
// know it.
func (c *Client) Results(ctx context.Context, log events.LogID, batch string) (shardlog.Results, error) {
	uri := shardURI(log, "ops/"+url.PathEscape(batch))
	reply, err := c.ask(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return shardlog.Results{}, err
	}
	defer reply.Close()
	if reply.code == http.StatusNotFound {
		_, err := reply.all(maxStatusError)
		return shardlog.Results{}, errors.Join(events.ErrNotFound, err)
	}
	if reply.code != http.StatusOK {
		return shardlog.Results{}, reply.statusError()
	}
	body, err := reply.all(maxResults)
	if err != nil {
		return shardlog.Results{}, err
	}
	results, err := shardlog.DecodeResults(body)
	if err == nil && results.Batch != batch {
		err = fmt.Errorf("the answer is about batch %s", results.Batch)
	}
	return results, err
}

// Rows returns when the server begins to answer with the rows from low to high.
func (c *Client) Rows(ctx context.Context, log events.LogID, minSeq uint64, low, high int64) (*Rows, error) {
	uri := shardURI(log, "rows") + "&floor=" + strconv.FormatUint(minSeq, 10) +
		"&low=" + strconv.FormatInt(low, 10) + "&high=" + strconv.FormatInt(high, 10)
	reply, err := c.ask(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return nil, err
	}
	if reply.code != http.StatusOK {
		defer reply.Close()
		return nil, reply.statusError()
	}
	return newRows(reply, minSeq), nil
}

func shardURI(log events.LogID, thing string) string {
	return shardapi.Path(log.Table, log.Shard, thing) + "?log=" + url.QueryEscape(log.Incarnation)
}
