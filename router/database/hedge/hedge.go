// Package hedge asks the next candidate too when one takes long.
package hedge

import (
	"context"
	"errors"
	"time"
)

// ErrNobody is the error if there is no candidate.
var ErrNobody = errors.New("nobody can be asked")

// Policy is how candidates C are asked for a T.
type Policy[C, T any] struct {
	After  time.Duration                       // until the next one is asked too
	Ask    func(context.Context, C) (T, error) // returns soon after its context ends
	Slow   func(C)                             // C took longer than After, and the next one is asked; may be nil
	Failed func(C, error)                      // may be nil
	Drop   func(T)                             // of an answer that came after the first; may be nil
}

type call[C, T any] struct {
	from   C
	stop   context.CancelFunc
	answer T
	err    error
}

// First asks the candidates in order: the next one when one fails, and when the
// last one that was asked takes longer than p.After. It returns the first
// answer and who gave it, or the last error. The context of that call lives as
// long as ctx; those of the others have ended, and so have their calls.
func First[C, T any](ctx context.Context, order []C, p Policy[C, T]) (answer T, from C, err error) {
	done := make(chan *call[C, T], len(order))
	open := map[*call[C, T]]bool{}
	var last C
	ask := func() {
		if len(order) == 0 {
			return
		}
		last, order = order[0], order[1:]
		c := &call[C, T]{from: last}
		var asking context.Context
		asking, c.stop = context.WithCancel(ctx)
		open[c] = true
		go func() {
			c.answer, c.err = p.Ask(asking, c.from)
			done <- c
		}()
	}
	defer func() {
		for c := range open {
			c.stop()
		}
		for range open {
			if c := <-done; c.err == nil && p.Drop != nil {
				p.Drop(c.answer)
			}
		}
	}()
	late := time.NewTicker(p.After)
	defer late.Stop()
	err = ErrNobody
	for ask(); len(open) > 0; {
		select {
		case c := <-done:
			delete(open, c)
			if c.err == nil {
				return c.answer, c.from, nil
			}
			c.stop()
			if err = c.err; ctx.Err() != nil {
				return answer, from, err
			}
			if p.Failed != nil {
				p.Failed(c.from, err)
			}
			ask()
		case <-late.C:
			if len(order) > 0 && p.Slow != nil {
				p.Slow(last)
			}
			ask()
		}
	}
	return answer, from, err
}
