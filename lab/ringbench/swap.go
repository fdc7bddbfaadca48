package main

import (
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/zeebo/xxh3"

	"ringway/router/ring"
)

const swapMembers = 1000

// swaps compares the p99 of routing while nothing happens with that while
// another goroutine rebuilds and swaps the route without a pause. The clock is
// read once a batch of 1,000 lookups. Rebuilding without swapping shows what of
// it is a busy neighbour. With next to no live data the collector runs every few
// rebuilds, so all is measured once more beside 64 MiB of it, which is a guess.
func swaps(quick bool) error {
	rounds, each := 21, 400*time.Millisecond
	if quick {
		rounds, each = 9, 200*time.Millisecond
	}
	all := members(swapMembers)
	addresses := make([]string, len(all))
	for i := range addresses {
		addresses[i] = fmt.Sprintf("10.0.%d.%d:8080", i>>8, i&255)
	}
	t, err := ring.Balanced(churnSlots, all, nil)
	if err != nil {
		return err
	}
	var current atomic.Pointer[route]
	current.Store(&route{table: t, addresses: addresses})
	keys, _, _ := makeKeys()

	fmt.Printf("\nRoute swap, %d members, p99 of batches of 1,000 lookups in µs. %d rounds, interleaved: median (least–most)\n\n", swapMembers, rounds)
	w := table()
	fmt.Fprintln(w, "other live data\tbeside it\tp99\ttimes nothing\tµs a rebuild")
	for _, live := range []int{0, 64} {
		other := make([]byte, live<<20)
		var still, building, swapping []float64
		built, swapped := 0, 0
		for range rounds {
			still = append(still, p99(&current, keys, each))
			n, err := beside(&current, all, addresses, false, func() { building = append(building, p99(&current, keys, each)) })
			if err != nil {
				return err
			}
			m, err := beside(&current, all, addresses, true, func() { swapping = append(swapping, p99(&current, keys, each)) })
			if err != nil {
				return err
			}
			built, swapped = built+n, swapped+m
		}
		runtime.KeepAlive(other)
		took := float64(rounds) * float64(each.Microseconds())
		fmt.Fprintf(w, "%d MiB\tnothing\t%s\t%s\t\n", live, spread(still), spread(ratios(still, still)))
		fmt.Fprintf(w, "%d MiB\trebuilding without a pause\t%s\t%s\t%.0f\n", live, spread(building), spread(ratios(building, still)), took/float64(built))
		fmt.Fprintf(w, "%d MiB\trebuilding and swapping\t%s\t%s\t%.0f\n", live, spread(swapping), spread(ratios(swapping, still)), took/float64(swapped))
	}
	return w.Flush()
}

func p99(current *atomic.Pointer[route], keys [][]byte, d time.Duration) float64 {
	var batches []float64
	sum := 0
	for start := time.Now(); len(batches) == 0 || time.Since(start) < d; {
		begin := time.Now()
		for i := range 1000 {
			r := current.Load()
			sum += len(r.addresses[r.table.Owner(r.table.Slot(xxh3.Hash(keys[i%keyCount])))])
		}
		batches = append(batches, float64(time.Since(begin).Nanoseconds())/1000)
	}
	sink += sum
	slices.Sort(batches)
	return batches[len(batches)*99/100]
}

// beside runs f while another goroutine removes a member and adds it again,
// and returns how many tables that one built.
func beside(current *atomic.Pointer[route], all []ring.Member, addresses []string, swap bool, f func()) (int, error) {
	stop, done := make(chan struct{}), make(chan error)
	built := 0
	go func() {
		done <- func() error {
			for t := current.Load().table; ; built++ {
				select {
				case <-stop:
					return nil
				default:
				}
				next, err := ring.Balanced(churnSlots, all[:swapMembers-built%2], t)
				if err != nil {
					return err
				}
				if t = next; swap {
					current.Store(&route{table: t, addresses: addresses})
				}
			}
		}()
	}()
	f()
	close(stop)
	err := <-done
	return built, err
}
