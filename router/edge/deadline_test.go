package edge

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// counted counts how often deadlines are set.
type counted struct {
	net.Conn
	reads, writes int
}

func (c *counted) SetReadDeadline(t time.Time) error {
	c.reads++
	return c.Conn.SetReadDeadline(t)
}

func (c *counted) SetWriteDeadline(t time.Time) error {
	c.writes++
	return c.Conn.SetWriteDeadline(t)
}

// pair is a client as the server sees it, and what is at the other end. Times
// are virtual.
func pair(t *testing.T, test func(c *trackedConn, counts *counted, other net.Conn)) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		here, there := net.Pipe()
		defer here.Close()
		defer there.Close()
		counts := &counted{Conn: here}
		test(&trackedConn{Conn: counts}, counts, there)
	})
}

func TestDeadline_PassesWhenItWasSetLast(t *testing.T) {
	f := func(want time.Duration, moves ...time.Duration) {
		t.Helper()
		pair(t, func(c *trackedConn, _ *counted, other net.Conn) {
			begun := time.Now()
			for _, move := range moves {
				_ = c.SetDeadline(begun.Add(move))
			}
			_, err := c.Read(make([]byte, 1))
			if took := time.Since(begun); !errors.Is(err, os.ErrDeadlineExceeded) || took != max(want, 0) {
				t.Errorf("%s: read ended after %s with %v", moves, took, err)
			}
			go func() { _, _ = io.ReadFull(other, make([]byte, 3)) }() // and no more
			begun = time.Now()
			for _, move := range moves {
				_ = c.SetWriteDeadline(begun.Add(move))
			}
			n, err := c.Write(make([]byte, 7))
			if took := time.Since(begun); !errors.Is(err, os.ErrDeadlineExceeded) || took != max(want, 0) || want > 0 && n != 3 {
				t.Errorf("%s: write of %d ended after %s with %v", moves, n, took, err)
			}
		})
	}
	f(time.Second, time.Second)
	f(5*time.Second, time.Second, 5*time.Second)                // later
	f(time.Second, 5*time.Second, time.Second)                  // earlier
	f(2*time.Second, time.Second, 5*time.Second, 2*time.Second) // both
	f(-time.Second, time.Minute, -time.Second)                  // at once
}

func TestDeadline_OfOneThatNobodyWantsAnyMoreGoesOn(t *testing.T) {
	pair(t, func(c *trackedConn, _ *counted, other net.Conn) {
		_ = c.SetDeadline(time.Now().Add(time.Second))
		_ = c.SetDeadline(time.Time{})
		go func() {
			time.Sleep(time.Hour)
			_, _ = other.Write([]byte("late"))
			time.Sleep(time.Hour)
			_, _ = io.ReadFull(other, make([]byte, 4))
		}()
		got := make([]byte, 4)
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "late" {
			t.Errorf("got %q, %v", got, err)
		}
		if n, err := c.Write(got); err != nil || n != 4 {
			t.Errorf("wrote %d, %v", n, err)
		}
	})
}

// A client that takes some of a long answer now and then gets all of it; one that
// takes nothing for the time of a write does not.
func TestDeadline_OfALongAnswerIsOfProgress(t *testing.T) {
	f := func(pause time.Duration, want int, wantErr error) {
		t.Helper()
		pair(t, func(c *trackedConn, _ *counted, other net.Conn) {
			c.eachWrite = 10 * time.Second
			_ = c.SetWriteDeadline(time.Now().Add(60 * time.Second)) // as a server does
			go func() {
				for err := error(nil); err == nil; _, err = other.Read(make([]byte, 1)) {
					time.Sleep(pause)
				}
			}()
			n, err := c.Write(make([]byte, 40))
			if n != want || !errors.Is(err, wantErr) {
				t.Errorf("one byte every %s: wrote %d with %v", pause, n, err)
			}
			_ = c.Conn.Close()
			time.Sleep(2 * pause)
		})
	}
	f(9*time.Second, 40, nil)
	f(11*time.Second, 0, os.ErrDeadlineExceeded)
}

func TestDeadline_IsRarelySet(t *testing.T) {
	pair(t, func(c *trackedConn, counts *counted, other net.Conn) {
		go func() {
			for range 1000 {
				time.Sleep(100 * time.Millisecond)
				_, _ = other.Write([]byte("x"))
			}
		}()
		for range 1000 { // as a server does
			_ = c.SetReadDeadline(time.Now().Add(75 * time.Second))
			_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
			if _, err := c.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			_ = c.SetWriteDeadline(time.Now().Add(60 * time.Second))
		}
		if counts.reads > 10 || counts.writes > 1 {
			t.Errorf("set %d and %d times in 100 s", counts.reads, counts.writes)
		}
	})
}
