package placement

import (
	"slices"

	"ringway/controller/cluster"
	"ringway/events"
)

// RemovalPlan counts the copies of each shard that are ready.
type RemovalPlan struct {
	servers []events.ShardServer // that are left, in the table's order
	good    map[string]map[string]bool
	left    map[string]int // good copies by shard
}

func NewRemovalPlan(s *cluster.State, db events.Database) *RemovalPlan {
	c := &RemovalPlan{servers: slices.Clone(db.Servers), good: map[string]map[string]bool{}, left: map[string]int{}}
	for _, srv := range db.Servers {
		c.good[srv.Name] = map[string]bool{}
		for _, id := range srv.Shards {
			if cluster.ConfirmedReady(s, db, srv, id) {
				c.good[srv.Name][id] = true
				c.left[id]++
			}
		}
	}
	return c
}

// blocked names a shard that would have no good copy without this server.
func (c *RemovalPlan) blocked(srv events.ShardServer) (string, bool) {
	for _, id := range srv.Shards {
		left := c.left[id]
		if c.good[srv.Name][id] {
			left--
		}
		if left < 1 {
			return id, true
		}
	}
	return "", false
}

// Remove takes a server away, or names the shard that needs it.
func (c *RemovalPlan) Remove(name string) (needed string, ok bool) {
	i := slices.IndexFunc(c.servers, func(srv events.ShardServer) bool { return srv.Name == name })
	if id, no := c.blocked(c.servers[i]); no {
		return id, false
	}
	c.take(c.servers[i], -1)
	c.servers = slices.Delete(c.servers, i, i+1)
	return "", true
}

func (c *RemovalPlan) take(srv events.ShardServer, n int) {
	for id := range c.good[srv.Name] {
		c.left[id] += n
	}
}

// maxTries bounds the search for servers that may go together: the exact
// answer can take for ever on hundreds of servers.
const maxTries = 100_000

// Pick finds n servers that may go together, tried in the given order, those
// with a replica that is not good first.
func (c *RemovalPlan) Pick(n int, order []int) (names []string, ok bool) {
	tries := maxTries
	order = slices.DeleteFunc(slices.Clone(order), func(i int) bool { return i >= len(c.servers) })
	good := func(i int) bool { return len(c.good[c.servers[i].Name]) == len(c.servers[i].Shards) }
	slices.SortStableFunc(order, func(a, b int) int { return cluster.FalseFirst(good(a), good(b)) })
	var try func(from, n int) bool
	try = func(from, n int) bool {
		if n == 0 {
			return true
		}
		for i := from; i+n <= len(order) && tries > 0; i++ {
			tries--
			srv := c.servers[order[i]]
			if _, no := c.blocked(srv); no {
				continue
			}
			c.take(srv, -1)
			names = append(names, srv.Name)
			if try(i+1, n-1) {
				return true
			}
			names = names[:len(names)-1]
			c.take(srv, 1)
		}
		return false
	}
	ok = try(0, n)
	return names, ok
}
