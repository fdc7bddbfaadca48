package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"
	"time"
)

const (
	maxWriters = 8
	closeGrace = 2 * time.Second // for a server that may stand still
)

// writers are the connections of transactions. One begins with its first
// statement, which spares a round trip, and a replica keeps to one connection,
// so that its statements are prepared there and nowhere else.
type writers struct {
	db   *sql.DB
	all  []*writer
	over chan struct{} // closed when the engine is
	end  func()        // closes it

	mu sync.Mutex
	of map[string]*writer // by replica
}

// writer is one of them. Whoever holds the lock may use the rest.
type writer struct {
	lock     chan struct{}
	conn     *sql.Conn // nil: none is open; without the lock no transaction is
	over     <-chan struct{}
	replicas int // belongs to the lock of writers
}

func newWriters(connector driver.Connector, n int) *writers {
	over := make(chan struct{})
	w := &writers{db: sql.OpenDB(connector), over: over, end: sync.OnceFunc(func() { close(over) }), of: map[string]*writer{}}
	for range n {
		one := &writer{lock: make(chan struct{}, 1), over: over}
		one.lock <- struct{}{}
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
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	var err error
	for _, one := range w.all {
		if err == nil {
			select {
			case <-one.lock:
				one.lock <- struct{}{}
			case <-grace.C:
				err = errors.New("a transaction still runs")
			}
		}
		one.disconnect()
	}
	return errors.Join(err, w.db.Close())
}

// take waits for the lock of a replica's writer, and for a connection. If it fails,
// there is no lock to release.
func (w *writers) take(ctx context.Context, replica string) (conn *sql.Conn, release func(lost bool), err error) {
	one := w.writer(replica)
	select {
	case <-one.lock:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	case <-w.over:
		return nil, nil, errClosed
	}
	if one.conn != nil && one.conn.Raw(func(c any) error { return c.(driver.SessionResetter).ResetSession(ctx) }) != nil {
		one.conn = nil // the server has closed it; a pool checks in the same way, without a question to the server
	}
	if one.conn == nil {
		conn, err := w.db.Conn(ctx)
		if err != nil {
			one.release(true)
			return nil, nil, err
		}
		one.conn = conn
	}
	return one.conn, one.release, nil
}

var errClosed = errors.New("the engine is closed")

// release is for whoever holds the lock, and has ended the transaction or lost the
// connection.
func (w *writer) release(lost bool) {
	if lost {
		w.conn = nil
	}
	w.lock <- struct{}{}
	select {
	case <-w.over:
		w.disconnect()
	default:
	}
}

// disconnect closes the connection, unless somebody holds the lock, who then does.
func (w *writer) disconnect() {
	select {
	case <-w.lock:
		if w.conn != nil {
			_ = w.conn.Close() // nothing is in flight
			w.conn = nil
		}
		w.lock <- struct{}{}
	default:
	}
}
