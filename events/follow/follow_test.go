package follow_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ringway/events"
	"ringway/events/follow"
)

// silent is a bus whose watches hand out what is there when they begin, and
// nothing more.
type silent struct {
	mu      sync.Mutex
	now     events.Entry
	watches int
	refuse  int // so many watches, and listeners
	hear    func(string, []byte)
}

func (s *silent) Watch(ctx context.Context, _ string, fn func(events.Entry)) error {
	s.mu.Lock()
	s.watches++
	now, err := s.now, s.refused()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	fn(now)
	<-ctx.Done()
	return ctx.Err()
}

func (s *silent) Listen(_ string, fn func(string, []byte)) (func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refused(); err != nil {
		return nil, err
	}
	s.hear = fn
	return func() {}, nil
}

func (s *silent) refused() error {
	if s.refuse > 0 {
		s.refuse--
		return errors.New("the bus is away")
	}
	return nil
}

func version(revision uint64) events.Version {
	return events.Version{Incarnation: "one", Revision: revision}
}

// obey follows s in a bubble; obeyed is the newest version.
func obey(t *testing.T, s *silent, do func(obeyed func() events.Version, beat func(events.Version))) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var at events.Version
		obeyed := func() events.Version {
			mu.Lock()
			defer mu.Unlock()
			return at
		}
		f := follow.Follower{Values: s, Bus: s, Log: slog.New(slog.DiscardHandler),
			Apply: func(e events.Entry) {
				mu.Lock()
				defer mu.Unlock()
				at = e.Version
			},
			Behind: func(b events.ControllerHeartbeat) bool {
				return follow.IsNewer(b.Epochs, func(string) events.Version { return obeyed() })
			},
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); f.Run(ctx) }()
		do(obeyed, func(v events.Version) {
			body, err := json.Marshal(events.ControllerHeartbeat{Controller: "c1", Epochs: map[string]events.Epoch{"web": v}})
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				s.hear("", []byte("rubbish"))
				s.hear("", body)
				time.Sleep(events.HeartbeatInterval) // virtual
			}
			synctest.Wait()
		})
		cancel()
		<-done
	})
}

func TestFollower_WatchesAnewWhenTheLeaderIsAhead(t *testing.T) {
	s := &silent{now: events.Entry{Version: version(1)}}
	obey(t, s, func(obeyed func() events.Version, beat func(events.Version)) {
		synctest.Wait()
		beat(version(1))
		if s.watches != 1 {
			t.Errorf("%d watches although nothing was behind", s.watches)
		}
		s.mu.Lock()
		s.now.Version = version(2)
		s.mu.Unlock()
		beat(version(2))
		if obeyed() != version(2) {
			t.Errorf("obeys %s", obeyed())
		}
	})
}

func TestFollower_TriesAgainWhenTheBusIsAway(t *testing.T) {
	s := &silent{now: events.Entry{Version: version(1)}, refuse: 4}
	obey(t, s, func(obeyed func() events.Version, _ func(events.Version)) {
		time.Sleep(10 * time.Second) // virtual
		synctest.Wait()
		if obeyed() != version(1) || s.hear == nil {
			t.Errorf("obeys %s, listens: %v", obeyed(), s.hear != nil)
		}
	})
}
