package catalog

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"ringway/events"
)

// MinSeq is the seq of one life of a log that session reads have to see. It
// never falls, and it is the same for all clients of this router.
type MinSeq struct {
	seq      atomic.Uint64
	fromLog  atomic.Bool   // the log's last seq is in it
	complete atomic.Bool   // all that was acknowledged before this router came is in it
	settled  chan struct{} // closed when it is complete, or only a person can help
	once     sync.Once
	reason   atomic.Pointer[error] // why it is not complete
}

func newMinSeq() *MinSeq { return &MinSeq{settled: make(chan struct{})} }

// Seq is its value now.
func (m *MinSeq) Seq() uint64 { return m.seq.Load() }

// Raise makes it at least seq.
func (m *MinSeq) Raise(seq uint64) { raise(&m.seq, seq) }

// RaiseFromLog takes in the last seq of the log.
func (m *MinSeq) RaiseFromLog(last uint64) {
	m.Raise(last)
	m.fromLog.Store(true)
}

// FromLog reports whether the last seq of the log was taken in.
func (m *MinSeq) FromLog() bool { return m.fromLog.Load() }

// Settle notes that all that was acknowledged is in it, or why that is not
// known.
func (m *MinSeq) Settle(reason error) {
	if reason == nil {
		m.complete.Store(true)
	} else {
		m.reason.Store(&reason)
	}
	if reason == nil || errors.Is(reason, events.ErrLogMissing) {
		m.once.Do(func() { close(m.settled) })
	}
}

// Complete reports whether all that was acknowledged is in it.
func (m *MinSeq) Complete() bool { return m.complete.Load() }

// Incomplete is the reason for which it is not complete; nil if it is, or if the
// reason is not known.
func (m *MinSeq) Incomplete() error {
	reason := m.reason.Load()
	if reason == nil || m.Complete() {
		return nil
	}
	return *reason
}

// Await returns when it is complete.
func (m *MinSeq) Await(ctx context.Context) error {
	select {
	case <-m.settled:
	case <-ctx.Done():
	}
	if err := m.Incomplete(); err != nil || m.Complete() {
		return err
	}
	return context.Cause(ctx)
}

// raise makes a at least v.
func raise(a *atomic.Uint64, v uint64) {
	for old := a.Load(); old < v; old = a.Load() {
		if a.CompareAndSwap(old, v) {
			return
		}
	}
}
