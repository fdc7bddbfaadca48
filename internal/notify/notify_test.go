package notify

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

func TestSignal(t *testing.T) {
	s := NewSignal()
	s.Notify()
	s.Notify() // does not block
	<-s
	select {
	case <-s:
		t.Fatal("notified twice before it was received, and received twice")
	default:
	}
}

func TestCond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var c Cond
		n := 0
		c.Broadcast() // nobody waits
		var waiting sync.WaitGroup
		for want := range 3 {
			waiting.Go(func() {
				if err := c.Await(t.Context(), &mu, func() bool { return n >= want }); err != nil {
					t.Errorf("await %d: %v", want, err)
				}
			})
		}
		synctest.Wait()
		for range 2 {
			mu.Lock()
			n++
			c.Broadcast()
			mu.Unlock()
			synctest.Wait()
		}
		waiting.Wait()

		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(why)
		if err := c.Await(ctx, &mu, func() bool { return false }); !errors.Is(err, why) {
			t.Errorf("got %v, want the cause of the context's end", err)
		}
	})
}
