// Command ringbench measures Ringway's slot tables beside public
// consistent-hash libraries, a ketama-style ring and Maglev, all in one run.
//
// Figures are ratios with their spread, for nanoseconds mean little on another
// machine. It is a module of its own: what it compares with never becomes a
// dependency of Ringway.
package main

import (
	"fmt"
	"os"
	"runtime"
)

func main() {
	quick := os.Getenv("QUICK") != ""
	fmt.Printf("%s, %d CPUs, quick: %v\n", runtime.Version(), runtime.NumCPU(), quick)
	for _, measure := range []func(bool) error{lookups, churn, swaps} {
		if err := measure(quick); err != nil {
			fmt.Fprintln(os.Stderr, "ringbench:", err)
			os.Exit(1)
		}
	}
}
