package main

import (
	"fmt"
	"slices"
	"time"
)

// median of rounds, of which there is at least one.
func median(rounds []float64) float64 {
	sorted := slices.Sorted(slices.Values(rounds))
	return sorted[len(sorted)/2]
}

// spreadOf is the median with the lowest and the highest.
func spreadOf(rounds []float64, format string) string {
	return fmt.Sprintf(format+" ("+format+"–"+format+")", median(rounds), slices.Min(rounds), slices.Max(rounds))
}

// ratios divides round by round, so that what disturbed a whole round cancels.
func ratios(over, under []float64) []float64 {
	r := make([]float64, len(over))
	for i := range r {
		r[i] = over[i] / under[i]
	}
	return r
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d.Microseconds())/1000) }
