package testkit_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"ringway/events"
	"ringway/internal/testkit"
)

func TestMain(m *testing.M) {
	if testkit.ServeBus() {
		return
	}
	goleak.VerifyTestMain(m)
}

func TestTry(t *testing.T) {
	f := func(bound, needs, want time.Duration, fails bool) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			asked := 0
			err := testkit.Try(bound, func() error {
				if asked++; time.Since(begun) < needs {
					return fmt.Errorf("asked %d times", asked)
				}
				return nil
			})
			if took := time.Since(begun); took != want || (err != nil) != fails || asked == 0 {
				t.Errorf("a bound of %s for what needs %s: %v after %s", bound, needs, err, took)
			}
		})
	}
	f(time.Second, 0, 0, false)
	f(time.Second, 12*time.Millisecond, 15*time.Millisecond, false)
	f(time.Second, time.Minute, 1005*time.Millisecond, true)
	f(-time.Second, 0, 0, false)
	f(-time.Second, time.Minute, 0, true)
}

func TestTry_LooksAQuarterOfTheTime(t *testing.T) {
	f := func(look, want time.Duration) {
		t.Helper()
		if got := testkit.Pause(look); got != want {
			t.Errorf("after a look of %s: a pause of %s, want %s", look, got, want)
		}
	}
	f(0, 5*time.Millisecond)
	f(10*time.Millisecond, 30*time.Millisecond)
	f(time.Second, 50*time.Millisecond)
}

func TestStopwatch(t *testing.T) {
	f := func(wall, starved, want time.Duration) {
		t.Helper()
		if got := testkit.Discount(wall, starved); got != want {
			t.Errorf("%s, starved for %s of them: got %s, want %s", wall, starved, got, want)
		}
	}
	f(9*time.Second, 0, 9*time.Second)
	f(9*time.Second, 3*time.Second, 7*time.Second)
	f(9*time.Second, 9*time.Second, 3*time.Second)
	f(9*time.Second, time.Minute, 3*time.Second) // a bound: what never comes is still found
	f(9*time.Second, -time.Second, 9*time.Second)

	g := func(pressure string, want time.Duration) {
		t.Helper()
		if got := testkit.Stalled(pressure); got != want {
			t.Errorf("%q: got %s, want %s", pressure, got, want)
		}
	}
	g("some avg10=0.00 avg60=5.98 avg300=8.68 total=44998151\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n", 44998151*time.Microsecond)
	g("", 0)
	g("some", 0)
}

// failing is a test that is to fail; its Fatalf returns.
type failing struct {
	testing.TB
	message string
}

func (f *failing) Helper()                        {}
func (f *failing) Fatalf(form string, all ...any) { f.message = fmt.Sprintf(form, all...) }
func (f *failing) Fatal(all ...any)               { f.message = fmt.Sprint(all...) }

func TestEventually_EndsTheTestWithTheLastError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &failing{TB: t}
		testkit.Eventually(f, func() error { return errors.New("not yet") })
		if want := "not within 45s: not yet"; f.message != want {
			t.Errorf("got %q, want %q", f.message, want)
		}
		testkit.Must(f, errors.New("no"))
		if f.message != "no" {
			t.Errorf("got %q", f.message)
		}
	})
}

func TestBuffer(t *testing.T) {
	var b testkit.Buffer
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() { fmt.Fprint(&b, "x"); _ = b.String() })
	}
	all.Wait()
	if b.String() != "xxxxxxxxxx" {
		t.Errorf("got %q", b.String())
	}
}

// Both kinds of bus come back on their port with what they stored, unless they
// were wiped.
func TestBus_ComesBackOnItsPort(t *testing.T) {
	here, process := testkit.StartBus(t), testkit.StartBusProcess(t)
	f := func(url, key string, again func(), keeps bool) {
		t.Helper()
		c := testkit.Connect(t, url)
		b, err := c.Bucket(testkit.Context(t), events.BucketRoutes)
		testkit.Must(t, err)
		_, err = b.Create(testkit.Context(t), key, []byte("x"))
		testkit.Must(t, err)
		again()
		c = testkit.Connect(t, url)
		b, err = c.Bucket(testkit.Context(t), events.BucketRoutes)
		testkit.Must(t, err)
		if _, err := b.Get(testkit.Context(t), key); (err == nil) != keeps {
			t.Errorf("keeps %v: %v", keeps, err)
		}
	}
	f(here.URL(), "a", here.Restart, true)
	f(here.URL(), "b", func() { here.Shutdown(); here.Wipe(); here.Start() }, false)
	f(process.URL(), "a", func() { process.Kill(); process.Start() }, true)
}

func TestBusProcess_PauseFreezesIt(t *testing.T) {
	srv := testkit.StartBusProcess(t)
	c := testkit.Connect(t, srv.URL())
	thaw := srv.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.Bucket(ctx, events.BucketRoutes); err == nil {
		t.Error("a frozen bus answers")
	}
	thaw()
	testkit.Eventually(t, func() error { _, err := c.Bucket(testkit.Context(t), events.BucketRoutes); return err })
}

func TestAddress_IsTheTestsWhileNobodyListens(t *testing.T) {
	seen := map[string]bool{}
	for range 50 {
		address := testkit.Address(t)
		if seen[address] {
			t.Fatalf("%s is given twice", address)
		}
		seen[address] = true
		for range 2 { // again after it was left
			l, err := net.Listen("tcp", address)
			testkit.Must(t, err)
			testkit.Must(t, l.Close())
		}
	}
	freed := ""
	t.Run("another", func(t *testing.T) { freed = testkit.Address(t) })
	_, port, err := net.SplitHostPort(freed)
	testkit.Must(t, err)
	lock, err := os.Open(filepath.Join(os.TempDir(), "ringway-test-ports", port))
	testkit.Must(t, err)
	defer lock.Close()
	testkit.Eventually(t, func() error { // a test of another package may have it now
		return syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	})
}

func TestAllocs_OfOthersDoNotCount(t *testing.T) {
	var held []byte
	n := 0
	if got := testkit.Allocs(10, func() {
		if n++; n < 20 { // as something else that ends
			held = make([]byte, 1<<10)
		}
	}); got != 0 {
		t.Errorf("%v allocations where there are none in the end", got)
	}
	if got := testkit.Allocs(10, func() { held = make([]byte, 1<<10) }); got != 1 {
		t.Errorf("%v allocations, want 1", got)
	}
	_ = held
}
