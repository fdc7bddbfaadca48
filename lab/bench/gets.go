package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"ringway/lab/bench/load"
)

// gets compares routing: GETs with a key each, through Ringway's router and
// through others, to the same three replicas.
func gets(ctx context.Context, o options) error {
	p := pace{clients: []int{1, 16, 256, 64}, rounds: 7, warm: time.Second, measure: 2 * time.Second}
	if o.quick {
		p = pace{clients: []int{64}, rounds: 5, warm: 500 * time.Millisecond, measure: 1500 * time.Millisecond}
	}
	c, err := start(ctx, o, 3)
	if err != nil {
		return err
	}
	defer c.stop()
	members, err := c.members(ctx)
	if err != nil {
		return err
	}
	ringway := getting("ringway", "router", c.cmd.Process.Pid, c.http)
	var others []*side
	for _, kind := range []proxyKind{haproxy, nginx} {
		proxy, err := startProxy(ctx, o, kind, members)
		if err != nil {
			return err
		}
		defer proxy.stop()
		fmt.Println(proxy.version)
		others = append(others, getting(kind.name, kind.name, proxy.cmd.Process.Pid, proxy.http))
	}
	fmt.Print("\n")
	scores, err := duel(ctx, p, others[0], ringway, others[1])
	if err != nil {
		return err
	}
	fmt.Print(getsVerdict(p, scores))
	return nil
}

func getting(name, role string, root int, base string) *side {
	key := func() (int64, bool) { return rand.Int64N(1_000_000), true }
	return &side{name: name, role: role, roots: []int{root}, keys: key, begin: func(ctx context.Context, n int) (load.Crew, error) {
		return load.HTTPClients(ctx, base, n, "/home", nil, `"Hello from `)
	}}
}

// getsVerdict is of scores of HAProxy, Ringway and nginx.
func getsVerdict(p pace, scores []score) string {
	clients := p.clients[len(p.clients)-1]
	text := ""
	for _, other := range []struct {
		name string
		score
	}{{"nginx", scores[2]}, {"haproxy", scores[0]}} {
		text += fmt.Sprintf("processor time of a GET, %s/ringway at %d clients: %s\n", other.name, clients, spreadOf(ratios(other.costs, scores[1].costs), "%.2f"))
	}
	return text + fmt.Sprintf("ringway/haproxy at %d clients: %.2f\n", clients, median(ratios(scores[1].rates, scores[0].rates)))
}

// members are the addresses of the replicas that the router serves.
func (c *cluster) members(ctx context.Context) (all []string, err error) {
	routes, err := c.routes(ctx)
	for _, route := range routes {
		for _, m := range route.Members {
			all = append(all, m.Address)
		}
	}
	return all, err
}
