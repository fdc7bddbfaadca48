package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"
	"time"
)

const mostWriters = 8

// writers are the connections of transactions. One begins with its first
// statement, which spares a round trip, and a replica keeps to one connection,
// so that its statements are prepared there and nowhere else.
type writers struct {
	db   *sql.DB
	all  []*writer
	over chan struct{} // closed when the engine is
	end  func()        // closes it

	compounds bool // the server prepares compound statements

	mu sync.Mutex
	of map[string]*writer // by replica
}

// writer is one of them. Whoever has its turn may use the rest.
type writer struct {
	turn     chan struct{}
	conn     *sql.Conn // nil: none is open; between turns no transaction is
	over     <-chan struct{}
	replicas int // belongs to the lock of writers
}

func newWriters(connector driver.Connector, n int) *writers {
	over := make(chan struct{})
	w := &writers{db: sql.OpenDB(connector), over: over, end: sync.OnceFunc(func() { close(over) }), of: map[string]*writer{}}
	for range n {
		one := &writer{turn: make(chan struct{}, 1), over: over}
		one.turn <- struct{}{}
		w.all = append(w.all, one)
	}
	return w
}

// writer is the one of a replica.
func (w *writers) writer(replica string) *writer {
	w.mu.Lock()
	defer w.mu.Unlock()
	if one := w.of[replica]; one != nil {
		return one
	}
	least := w.all[0]
	for _, one := range w.all {
		if one.replicas < least.replicas {
			least = one
		}
	}
	least.replicas++
	w.of[replica] = least
	return least
}

// forget is for a replica that is dropped.
func (w *writers) forget(replica string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if one := w.of[replica]; one != nil {
		one.replicas--
		delete(w.of, replica)
	}
}

// close waits a little for transactions that still run. One that takes longer
// ends by itself, and then its connection.
func (w *writers) close() error {
	w.end()
	grace := time.NewTimer(rollbackGrace)
	defer grace.Stop()
	var err error
	for _, one := range w.all {
		if err == nil {
			select {
			case <-one.turn:
				one.turn <- struct{}{}
			case <-grace.C:
				err = errors.New("a transaction still runs")
			}
		}
		one.hangUp()
	}
	return errors.Join(err, w.db.Close())
}

// take waits for the turn, and for a connection. If it fails, there is no turn
// to give back.
func (w *writers) take(ctx context.Context, replica string) (*writer, error) {
	one := w.writer(replica)
	select {
	case <-one.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-w.over:
		return nil, errClosed
	}
	if one.conn != nil && one.conn.Raw(func(c any) error { return c.(driver.SessionResetter).ResetSession(ctx) }) != nil {
		one.conn = nil // the server hung up; a pool looks in the same way, which asks it nothing
	}
	if one.conn == nil {
		conn, err := w.db.Conn(ctx)
		if err != nil {
			one.give()
			return nil, err
		}
		one.conn = conn
	}
	return one, nil
}

var errClosed = errors.New("the engine is closed")

// give is for whoever has the turn, and has ended the transaction.
func (w *writer) give() {
	w.turn <- struct{}{}
	select {
	case <-w.over:
		w.hangUp()
	default:
	}
}

// undo ends a transaction that failed, and with it, if the server does not
// answer, the connection.
func (w *writer) undo(ctx context.Context) {
	if rollback(ctx, w.conn) != nil {
		w.conn = nil
	}
}

// hangUp closes the connection, unless somebody has the turn, who then does.
func (w *writer) hangUp() {
	select {
	case <-w.turn:
		if w.conn != nil {
			_ = w.conn.Close() // nothing is in flight
			w.conn = nil
		}
		w.turn <- struct{}{}
	default:
	}
}
