package main

import (
	"context"
	"fmt"
	"time"

	"ringway/lab/bench/load"
)

// ours is the database that both comparisons use: 4 shards, 3 replicas, as few
// servers as that takes.
func ours(size int64) database { return spread(3, 4, 3, size) }

// writes compares acknowledged single-row writes. Both systems insert the same
// keys in the same order.
func writes(ctx context.Context, o options) error {
	p := pace{clients: []int{1, 16, 64, 256}, rounds: 5, warm: time.Second, measure: 3 * time.Second}
	if o.quick {
		p = pace{clients: []int{256}, rounds: 5, warm: time.Second, measure: 2 * time.Second}
	}
	d := ours(1 << 24)
	both, err := open(ctx, o, d)
	if err != nil {
		return err
	}
	defer both.close()
	theirKeys, ourKeys := &spreadKeys{d: d}, &spreadKeys{d: d}
	peer := &side{name: "mariadb", roots: []int{both.peer.pid}, keys: theirKeys.take, begin: load.InGoroutines(both.peer.inserters)}
	ringway := both.cluster.overHTTP(ourKeys.take, "/write", load.WriteBody, load.OneAdded)
	scores, err := duel(ctx, p, peer, ringway...)
	if err != nil {
		return err
	}
	theirs, err := both.peer.count(ctx)
	if err != nil {
		return err
	}
	if theirs != peer.ops {
		return fmt.Errorf("the peer has %d rows, acknowledged %d", theirs, peer.ops)
	}
	rows, err := both.cluster.countRange(ctx, 0, d.keys()-1)
	if err != nil {
		return err
	}
	if written := ringway[0].ops + ringway[1].ops; rows != written {
		return fmt.Errorf("ringway has %d rows, acknowledged %d", rows, written)
	}
	fmt.Printf("counted back: %d rows in %s, %d in ringway, as acknowledged\n", theirs, both.peer.name, rows)
	fmt.Print(verdict(p, scores))
	return nil
}

// pair is both systems, running.
type pair struct {
	cluster *cluster
	peer    *peer
}

func open(ctx context.Context, o options, d database) (*pair, error) {
	c, err := start(ctx, o, 1)
	if err != nil {
		return nil, err
	}
	both := &pair{cluster: c}
	took, err := c.init(ctx, d)
	if err == nil {
		both.peer, err = startPeer(ctx, o, "peer", 256, true)
	}
	if err != nil {
		both.close()
		return nil, err
	}
	fmt.Printf("%d shards, %d replicas each, on %d shard servers, there after %s; peer %s, one server, commits synced\n\n",
		d.shards, d.replicas, len(d.servers), took.Round(100*time.Millisecond), both.peer.name)
	return both, nil
}

func (p *pair) close() {
	if p.peer != nil {
		p.peer.close()
	}
	p.cluster.stop()
}
