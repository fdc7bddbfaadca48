package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"

	"ringway/router/ring"
)

const (
	churnSlots = 16384
	churnSeed  = 1
	maxMembers = 1000
)

// band is a range of the number of members; peers are built at one step in
// every, for theirs take long and depend on nothing before.
type band struct {
	limit, every int
	steps        int
	algorithms   [3]tally // balanced, ketama, maglev
}

// tally sums up one algorithm.
type tally struct {
	load        []float64 // max share ÷ mean share, by step
	moves       []float64 // moved ÷ least possible, by step
	all, lowest float64   // sums of both
}

func (t *tally) add(load, moved, lowest float64) {
	t.load = append(t.load, load)
	t.moves = append(t.moves, moved/lowest)
	t.all += moved
	t.lowest += lowest
}

func churn(quick bool) error {
	steps, bands := 30_000, []band{{limit: 10, every: 2}, {limit: 100, every: 10}, {limit: maxMembers, every: 100}}
	if quick {
		steps, bands = 8000, []band{{limit: 10, every: 2}, {limit: 100, every: 20}, {limit: maxMembers, every: 200}}
	}
	r := rand.New(rand.NewPCG(churnSeed, 0))
	ids, fresh, goal := []int{0}, 1, 1
	now, err := ring.Balanced(churnSlots, byID(ids), nil)
	if err != nil {
		return err
	}
	for range steps {
		if len(ids) == goal {
			goal = int(math.Exp(r.Float64() * math.Log(maxMembers+0.5)))
		}
		before := ids
		ids = step(r, before, goal, &fresh)
		next, err := ring.Balanced(churnSlots, byID(ids), now)
		if err != nil {
			return err
		}
		b := &bands[slices.IndexFunc(bands, func(b band) bool { return len(ids) <= b.limit })]
		// One of n has come or gone: with equal shares 1/n of all keys must move.
		lowest := 1 / float64(max(len(ids), len(before)))
		b.algorithms[0].add(float64(slices.Max(next.Shares())*len(ids))/churnSlots, movedSlots(now, next), lowest)
		if b.steps++; b.steps%b.every == 0 {
			peers(b, before, ids, lowest)
		}
		now = next
	}
	return report(bands, steps)
}

// step adds a member or removes a random one, mostly towards the goal.
func step(r *rand.Rand, ids []int, goal int, fresh *int) []int {
	grow := len(ids) < goal != (r.IntN(5) == 0)
	if len(ids) == maxMembers || len(ids) > 1 && !grow {
		i := r.IntN(len(ids))
		return slices.Delete(slices.Clone(ids), i, i+1)
	}
	*fresh++
	return append(slices.Clone(ids), *fresh)
}

func byID(ids []int) []ring.Member {
	m := make([]ring.Member, len(ids))
	for i, id := range ids {
		m[i] = ring.Member{Name: strconv.Itoa(id), ID: i + 1, Weight: 1}
	}
	return m
}

func movedSlots(before, after *ring.Table) float64 {
	was, is, n := before.Members(), after.Members(), 0
	for s := range churnSlots {
		if was[before.Owner(s)].Name != is[after.Owner(s)].Name {
			n++
		}
	}
	return float64(n) / churnSlots
}

func peers(b *band, before, after []int, lowest float64) {
	k := newKetama(after)
	highest := 0.0
	for _, share := range k.shares() {
		highest = max(highest, share)
	}
	b.algorithms[1].add(highest*float64(len(after)), newKetama(before).moved(k), lowest)

	m, was := newMaglev(after), newMaglev(before)
	count, moved := map[int]int{}, 0
	for s, id := range m {
		count[id]++
		if was[s] != id {
			moved++
		}
	}
	fullest := 0
	for _, c := range count {
		fullest = max(fullest, c)
	}
	b.algorithms[2].add(float64(fullest*len(after))/maglevSize, float64(moved)/maglevSize, lowest)
}

func report(bands []band, steps int) error {
	fmt.Printf("\nMembers come and go at random, %d steps between 1 and %d members: median (least–most)\n\n", steps, maxMembers)
	w := table()
	fmt.Fprintln(w, "members\twhat\tmax share ÷ mean\tmoved ÷ least possible\tof all steps\tsteps")
	lowest := 1
	for _, b := range bands {
		for i, name := range []string{"balanced, 16384 slots", "ketama, 160 points a member", "maglev, 65537 entries"} {
			if t := &b.algorithms[i]; len(t.load) > 0 {
				fmt.Fprintf(w, "%d–%d\t%s\t%s\t%s\t%.3f\t%d\n", lowest, b.limit, name, spread(t.load), spread(t.moves), t.all/t.lowest, len(t.load))
			}
		}
		lowest = b.limit + 1
	}
	return w.Flush()
}
