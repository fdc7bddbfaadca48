// Package testkit is what the tests of many packages stand on: waiting, logs, and a
// bus of their own.
//
// Only tests and the conformance suites import it. Nothing that it starts
// outlives the test that it was started for.
package testkit

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"
)

// Patience bounds every wait that names no bound of its own. It is for a
// machine that has much else to do; only a test that fails takes so long.
const Patience = 45 * time.Second

// Bounds of the pause between two looks.
const (
	pace    = 5 * time.Millisecond
	longest = 50 * time.Millisecond
)

// Eventually calls f again and again until it returns nil, and ends the test
// with its last error after Patience. Only the goroutine of the test may call it.
func Eventually(t testing.TB, f func() error) {
	t.Helper()
	Within(t, Patience, f)
}

// Within is Eventually with a bound of its own, on a Stopwatch. It returns what
// that showed.
func Within(t testing.TB, d time.Duration, f func() error) time.Duration {
	t.Helper()
	return StartWatch().Within(t, d, f)
}

// Try calls f until it returns nil, for at most d, and returns its last
// error. It calls it once at least.
func Try(d time.Duration, f func() error) error {
	deadline := time.Now().Add(d)
	return try(func() bool { return time.Now().After(deadline) }, f)
}

func try(over func() bool, f func() error) error {
	for {
		begun := time.Now()
		err := f()
		if err == nil || over() {
			return err
		}
		<-time.After(pause(time.Since(begun)))
	}
}

// pause is between two looks. Looking takes at most a quarter of the time,
// for it takes that from what it waits for; but no pause is long.
func pause(look time.Duration) time.Duration { return min(max(pace, 3*look), longest) }

// Context ends with the test, or after Patience.
func Context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return ctx
}

// Must ends the test if there is an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Quiet is a log that nobody reads.
var Quiet = slog.New(slog.DiscardHandler)

// Log is shown with the test if that fails. A benchmark has none.
func Log(t testing.TB) *slog.Logger {
	if _, bench := t.(*testing.B); bench {
		return Quiet
	}
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// Buffer keeps what is written to it, by any number of goroutines. Its zero
// value is ready.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Allocs is how often a call of f allocates on average: testing.AllocsPerRun,
// whose counter is that of the process, without what something else allocated
// meanwhile. It is the least of a few measurements.
func Allocs(runs int, f func()) float64 {
	least := testing.AllocsPerRun(runs, f)
	for range 9 {
		if least == 0 {
			break
		}
		least = min(least, testing.AllocsPerRun(runs, f))
	}
	return least
}
