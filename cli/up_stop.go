package cli

import (
	"context"
	"slices"
	"strings"
)

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
		u.con.progress("stopping  " + strings.Join(stopOrder[i:], ", ") + "  (ctrl-C kills at once)")
		at := slices.IndexFunc(u.stages, func(s *stage) bool { return s.name == name })
		if s := u.stages[at]; s.cancel != nil { // else it was never launched
			s.cancel()
			s.done.Wait()
		} else {
			closeUnlaunched(s)
		}
	}
	u.con.clear()
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
