package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"ringway/lab/bench/load"
	"ringway/lab/bench/usage"
)

// side is one of several systems that do the same work in turns, or one way to
// reach it.
type side struct {
	name  string
	begin func(ctx context.Context, clients int) (load.Crew, error)
	keys  func() (int64, bool)
	roots []int  // its processes, whose children are counted too
	role  string // of those processes whose time of one row is compared; empty: all, and ours
	rows  int    // of one op; 0: one
	fixed int    // number of clients; 0: that of the pace
	ops   int    // in all, warm-up included
}

// pace is how long a duel takes.
type pace struct {
	clients       []int
	rounds        int
	warm, measure time.Duration
}

// score is what one side did at one number of clients.
type score struct {
	rates []float64 // by round: rows/s
	costs []float64 // by round: processor time of the side's role for one row, in µs
	ours  []float64 // by round: that of this process
	last  load.Load
	used  usage.Usage // in the last round
}

// duel lets all sides work in every round, at every number of clients, and
// prints medians with their spread. It returns the scores at the number of
// clients that is given last, the peer's first.
func duel(ctx context.Context, p pace, peer *side, ours ...*side) ([]score, error) {
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintf(out, "clients\tsystem\tops/s\tto %s\tp50, p99 ms\n", peer.name)
	sides := append([]*side{peer}, ours...)
	var scores []score
	var costs []string
	for _, clients := range p.clients {
		var err error
		if scores, err = p.play(ctx, clients, sides); err != nil {
			return nil, err
		}
		for i, s := range sides {
			own, lead, ratio := scores[i], fmt.Sprint(clients), ""
			if i > 0 {
				lead, ratio = "", spreadOf(ratios(own.rates, scores[0].rates), "%.2f")
			}
			fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s, %s\n", lead, s.name, spreadOf(own.rates, "%.0f"), ratio, ms(own.last.Percentile(50)), ms(own.last.Percentile(99)))
			costs = append(costs, fmt.Sprintf("%d clients, %s: %s", clients, s.name, own.used.Each(own.last.Ops)))
		}
	}
	if err := out.Flush(); err != nil {
		return nil, err
	}
	fmt.Printf("\nprocessor time of one op by process, in µs, in the last round:\n  %s\n", strings.Join(costs, "\n  "))
	return scores, nil
}

// play is all rounds at one number of clients. Every other one is played
// backwards: what a side leaves to do is not always the same one's burden.
func (p pace) play(ctx context.Context, clients int, sides []*side) ([]score, error) {
	scores := make([]score, len(sides))
	order := make([]int, len(sides))
	for i := range order {
		order[i] = i
	}
	for round := -1; round < p.rounds; round++ {
		took := p.measure
		if round < 0 {
			took = p.warm
		}
		for _, i := range order {
			s := sides[i]
			before := usage.Of(s.roots...)
			l, err := s.work(ctx, cmp.Or(s.fixed, clients), took)
			if err != nil {
				return nil, fmt.Errorf("%s, %d clients: %w", s.name, clients, err)
			}
			if round >= 0 {
				scores[i].add(s, l, usage.Of(s.roots...).Since(before))
			}
		}
		slices.Reverse(order)
	}
	return scores, nil
}

func (s *score) add(of *side, l load.Load, used usage.Usage) {
	rows := max(1, of.rows)
	each := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(max(l.Ops*rows, 1)) }
	cost := used.All()
	if of.role != "" {
		cost = used[of.role]
	}
	s.rates = append(s.rates, l.PerSecond()*float64(rows))
	s.costs = append(s.costs, each(cost))
	s.ours = append(s.ours, each(used[usage.Ours]))
	s.last, s.used = l, used
}

func (s *side) work(ctx context.Context, clients int, atMost time.Duration) (load.Load, error) {
	fleet, err := s.begin(ctx, clients)
	if err != nil {
		return load.Load{}, err
	}
	defer fleet.Close()
	l, err := fleet.Drive(ctx, s.keys, atMost)
	s.ops += l.Ops
	return l, err
}

// overHTTP are two sides that are one: the cluster on its Unix socket, as the
// peer is reached, and over TCP.
func (c *cluster) overHTTP(keys func() (int64, bool), path string, body func([]byte, int64) []byte, want string) []*side {
	at := func(name, base string) *side {
		return &side{name: name, roots: []int{c.cmd.Process.Pid}, keys: keys, begin: func(ctx context.Context, n int) (load.Crew, error) {
			return load.HTTPClients(ctx, base, n, path, body, want)
		}}
	}
	return []*side{at("ringway", c.unix), at("ringway over TCP", c.http)}
}

// verdict is what a duel against the peer comes to; its last line is like for
// like.
func verdict(p pace, scores []score) string {
	clients := p.clients[len(p.clients)-1]
	to := func(i int) float64 { return median(ratios(scores[i].rates, scores[0].rates)) }
	return fmt.Sprintf("over TCP: ringway/mariadb at %d clients: %.2f\nringway/mariadb at %d clients: %.2f\n", clients, to(2), clients, to(1))
}
