package up

import (
	"context"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// keyInterval is how close two signals are when one ctrl-C caused both: the terminal
// signals the whole foreground group, and programs around us pass it on.
const keyInterval = 500 * time.Millisecond

// presses counts keys, not signals.
type presses struct{ first time.Time }

// again takes a signal and reports whether it is that of a second key.
func (p *presses) again(now time.Time) bool {
	if p.first.IsZero() {
		p.first = now
		return false
	}
	return now.Sub(p.first) >= keyInterval
}

// signals ends the context at the first signal and closes kill at the second.
func (u *up) signals(parent context.Context) (ctx context.Context, kill <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	second := make(chan struct{})
	c := make(chan os.Signal, 8)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// A reader of our stderr that goes away must not take the cluster along.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	done := make(chan struct{})
	go func() {
		for keys := (presses{}); ; {
			select {
			case <-done:
				return
			case <-c:
			}
			if keys.again(time.Now()) {
				close(second)
				return
			}
			cancel()
		}
	}()
	return ctx, second, func() { signal.Stop(c); signal.Stop(pipe); cancel(); close(done) }
}

// stopOrder lets requests in flight finish first, then keeps the controller
// from replacing what the agents stop.
var stopOrder = []string{"router", "controller", "agents", "bus"}

// stop stops the stages one by one and reports whether it was cut short by
// kill. Nothing runs when it returns.
func (u *up) stop(kill <-chan struct{}) (killed bool) {
	over, release := context.WithCancel(context.Background())
	defer release()
	go func() {
		select {
		case <-kill:
			for _, s := range u.stages {
				for _, c := range s.children {
					c.Kill()
				}
			}
		case <-over.Done():
		}
	}()
	for i, name := range stopOrder {
		u.Console.Progress("stopping  " + strings.Join(stopOrder[i:], ", ") + "  (ctrl-C kills at once)")
		at := slices.IndexFunc(u.stages, func(s *stage) bool { return s.name == name })
		if s := u.stages[at]; s.cancel != nil { // else it was never launched
			s.cancel()
			s.done.Wait()
		} else {
			closeUnlaunched(s)
		}
	}
	u.Console.Clear()
	select {
	case <-kill:
		return true
	default:
		return false
	}
}

// closeUnlaunched frees the lifelines of children that never ran.
func closeUnlaunched(s *stage) {
	ended, end := context.WithCancel(context.Background())
	end()
	for _, c := range s.children {
		c.Run(ended)
	}
}
