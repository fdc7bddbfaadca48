package sqlite

import "context"

// A gate lets so many in at once. It is where a call waits and may be
// cancelled; what runs behind it is short and runs to its end. Cancelling a
// statement of SQLite in the middle makes database/sql give its connection up,
// and one given up in a transaction was seen to keep the file locked for good.
type gate chan struct{}

func newGate(n int) gate { return make(gate, n) }

// enter returns a context that cannot be cancelled, for what runs behind the gate.
func (g gate) enter(ctx context.Context) (context.Context, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case g <- struct{}{}:
		return context.WithoutCancel(ctx), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (g gate) leave() { <-g }
