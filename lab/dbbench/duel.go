package main

import (
	"context"
	"fmt"
	"os"
	"text/tabwriter"
	"time"
)

// side is one of two systems that do the same work in turns.
type side struct {
	name  string
	begin func(ctx context.Context, clients int) (workers []worker, release func(), err error)
	keys  func() (int64, bool)
	ops   int // in all, warm-up included
}

// pace is how long a duel takes.
type pace struct {
	clients       []int
	rounds        int
	warm, measure time.Duration
}

// duel lets both sides work in every round, at every number of clients, and
// prints medians with their spread. It returns the median of the ratios at
// the number of clients that is given last.
func duel(ctx context.Context, p pace, peer, ours *side) (float64, error) {
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintf(out, "clients\t%s ops/s\t%s ops/s\tratio\t%s p50, p99 ms\t%s p50, p99 ms\n", peer.name, ours.name, peer.name, ours.name)
	ratio := 0.0
	for _, clients := range p.clients {
		rates := map[*side][]float64{}
		last := map[*side]load{}
		for round := -1; round < p.rounds; round++ {
			for _, s := range []*side{peer, ours} {
				took := p.measure
				if round < 0 {
					took = p.warm
				}
				l, err := s.work(ctx, clients, took)
				if err != nil {
					return 0, fmt.Errorf("%s, %d clients: %w", s.name, clients, err)
				}
				if round >= 0 {
					rates[s] = append(rates[s], l.perSecond())
					last[s] = l
				}
			}
		}
		rounds := ratios(rates[ours], rates[peer])
		ratio = median(rounds)
		a, b := last[peer], last[ours]
		fmt.Fprintf(out, "%d\t%s\t%s\t%s\t%s, %s\t%s, %s\n", clients, spreadOf(rates[peer], "%.0f"), spreadOf(rates[ours], "%.0f"), spreadOf(rounds, "%.2f"),
			ms(a.percentile(50)), ms(a.percentile(99)), ms(b.percentile(50)), ms(b.percentile(99)))
	}
	return ratio, out.Flush()
}

func (s *side) work(ctx context.Context, clients int, atMost time.Duration) (load, error) {
	workers, release, err := s.begin(ctx, clients)
	if err != nil {
		return load{}, err
	}
	defer release()
	l, err := drive(ctx, workers, s.keys, atMost)
	s.ops += l.ops
	return l, err
}
