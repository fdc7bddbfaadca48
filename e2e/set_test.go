package e2e

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"
)

// harmDuring is how long the faults of a test go on.
func harmDuring() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("RINGWAY_HARM_FOR")); err == nil {
		return d
	}
	if isBroken() {
		return 5 * time.Second
	}
	return time.Duration(rounds(10, 600)) * time.Second
}

// harmEnv names the one kind of harm that shall be done.
const harmEnv = "RINGWAY_HARM"

// chosen are the harms to do.
func chosen(t *testing.T, harms []harm) []harm {
	t.Helper()
	name := os.Getenv(harmEnv)
	if name == "" {
		return harms
	}
	harms = slices.DeleteFunc(harms, func(h harm) bool { return h.name != name })
	if len(harms) == 0 {
		t.Fatalf("%s=%q is no harm that this test does", harmEnv, name)
	}
	return harms
}

// setTest writes through the router at url while harm is done, until there was
// enough of it or the time is over.
func setTest(t *testing.T, on target, url func() string, harms []harm, during, pause time.Duration, enough func() bool) (*setWriters, *counters) {
	t.Helper()
	set, count := &setWriters{client: newDBClient(url)}, &counters{client: newDBClient(url)}
	count.begin(t, 4)
	n := newNemesis(t, on)
	w := newWork()
	w.each(8, set.work(w.ctx))
	w.each(4, count.work)
	ctx, cancel := context.WithTimeout(t.Context(), during)
	defer cancel()
	if enough != nil {
		go func() { // ends with ctx
			defer cancel()
			for ctx.Err() == nil && !enough() {
				wait(ctx, 100*time.Millisecond)
			}
		}()
	}
	n.run(ctx, chosen(t, harms), pause)
	w.end()
	t.Logf("harm done: %s", n)
	return set, count
}

// P1, P2, P3: nothing acknowledged is lost, nothing rejected is there, and all
// replicas are alike, whoever dies.
func TestDB_SetAndCountersSurviveKills(t *testing.T) {
	t.Parallel()
	f := func(engine string) {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			d := startDatabase(t, dbOptions{engine: engine})
			set, count := setTest(t, d, d.url, d.harms(), harmDuring(), 300*time.Millisecond, nil)
			found := d.settled()
			set.askOpen(t)
			report(t, set.check(t, found, isCounter))
			report(t, count.check(t, found))
		})
	}
	f("sqlite")
	f("mysql")
}
