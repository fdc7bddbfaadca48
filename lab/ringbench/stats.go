package main

import (
	"fmt"
	"os"
	"slices"
	"text/tabwriter"

	"ringway/router/ring"
)

// spread is the median of rounds with the lowest and the highest.
func spread(rounds []float64) string {
	sorted := slices.Sorted(slices.Values(rounds))
	return fmt.Sprintf("%.2f (%.2f–%.2f)", sorted[len(sorted)/2], sorted[0], sorted[len(sorted)-1])
}

// ratios divides round by round, so that what disturbed a whole round cancels.
func ratios(over, under []float64) []float64 {
	r := make([]float64, len(over))
	for i := range r {
		r[i] = over[i] / under[i]
	}
	return r
}

func table() *tabwriter.Writer { return tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0) }

func members(n int) []ring.Member {
	m := make([]ring.Member, n)
	for i := range m {
		m[i] = ring.Member{Name: fmt.Sprintf("replica-%d", i), ID: i + 1, Weight: 1}
	}
	return m
}
