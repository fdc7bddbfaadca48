package controller_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"ringway/controller"
	"ringway/events"
	"ringway/events/follow"
	"ringway/internal/testkit"
)

// fenced is a pretended agent or router that refuses what is older than what
// it applied, and returns what that was.
type fenced struct {
	mu     sync.Mutex
	term   events.Token
	newest map[string]uint64
	at     events.Version
	names  []string // ever assigned, until an assignment of the same life leaves them out
	owner  map[string]string
}

func (f *fenced) applied() (events.Version, []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at, slices.Clone(f.names)
}

// fencedHost is site.host with the fence of an agent.
func (s *site) fencedHost(name string) *fenced {
	s.t.Helper()
	conn := s.connect()
	f := &fenced{newest: map[string]uint64{}, owner: map[string]string{}}
	specs := map[string]events.InstanceSpec{}
	heartbeat := func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		b := events.HostHeartbeat{Host: name, Incarnation: name + "-1", Sent: time.Now(), Token: f.term, Assigned: f.at, Instances: []events.InstanceStatus{}}
		for i, n := range f.names {
			b.Instances = append(b.Instances, events.InstanceStatus{Name: n, Service: specs[n].Service, ID: specs[n].ID, Kind: specs[n].Kind, Volume: specs[n].Volume, State: events.Ready, Address: fmt.Sprintf("127.0.0.1:%d", 20000+i)})
		}
		_ = conn.Publish(events.AgentSubject(name), b)
	}
	applyValue := func(e events.Entry) {
		defer heartbeat() // after the unlock
		a, err := events.DecodeAssignment(e.Value)
		f.mu.Lock()
		defer f.mu.Unlock()
		if err != nil || a.Term.Revision < f.newest[a.Term.Incarnation] || f.at.After(e.Version) {
			return
		}
		if f.at == e.Version && f.term != a.Term || !a.Former.Zero() && f.at.After(a.Former) && e.Version.After(f.at) {
			return // of another past
		}
		if e.Version.Foreign(f.at) { // an older copy's values may be of the life before
			for n, owner := range f.owner {
				if owner == a.Term.Incarnation {
					f.owner[n] = f.at.String()
				}
			}
		}
		f.term, f.at = a.Term, e.Version
		f.newest[a.Term.Incarnation] = a.Term.Revision
		for _, i := range a.Instances {
			specs[i.Name], f.owner[i.Name] = i, a.Term.Incarnation
			if !slices.Contains(f.names, i.Name) {
				f.names = append(f.names, i.Name)
			}
		}
		f.names = slices.DeleteFunc(f.names, func(n string) bool {
			named := slices.ContainsFunc(a.Instances, func(i events.InstanceSpec) bool { return i.Name == n })
			return !named && f.owner[n] == a.Term.Incarnation
		})
	}
	follower := follow.Follower{Values: conn.Values(events.BucketAssign), Bus: conn, Filter: name, Apply: applyValue, Log: testkit.Quiet,
		Behind: func(b events.ControllerHeartbeat) bool {
			return follow.IsNewer(map[string]events.Version{name: b.Assigned[name]}, func(string) events.Version { at, _ := f.applied(); return at })
		}}
	s.background(func(ctx context.Context) { follower.Run(ctx) })
	s.background(func(ctx context.Context) { every(ctx, heartbeat) })
	return f
}

// fencedRouter is site.router that applies only what is newer.
func (s *site) fencedRouter(id string) *fenced {
	s.t.Helper()
	conn := s.connect()
	f := &fenced{}
	heartbeat := func() {
		at, _ := f.applied()
		_ = conn.Publish(events.RouterSubject(id), events.RouterHeartbeat{Router: id, Sent: time.Now(), Epochs: map[string]events.Epoch{"web": at}})
	}
	follower := follow.Follower{Values: conn.Values(events.BucketRoutes), Bus: conn, Log: testkit.Quiet,
		Apply: func(e events.Entry) {
			defer heartbeat() // after the unlock
			f.mu.Lock()
			defer f.mu.Unlock()
			if e.News(f.at) == events.Fresh {
				f.at = e.Version
			}
		},
		Behind: func(b events.ControllerHeartbeat) bool {
			return follow.IsNewer(b.Epochs, func(string) events.Version { at, _ := f.applied(); return at })
		}}
	s.background(func(ctx context.Context) { follower.Run(ctx) })
	s.background(func(ctx context.Context) { every(ctx, heartbeat) })
	return f
}

// keep copies the store; restore puts the copy back.
func (s *site) keep() (restore func()) {
	s.t.Helper()
	older := filepath.Join(s.t.TempDir(), "older")
	s.bus.Shutdown()
	testkit.Must(s.t, os.CopyFS(older, os.DirFS(s.bus.Config.Store)))
	s.bus.Start()
	var kept events.Entry
	testkit.Eventually(s.t, func() (err error) { kept, err = s.lease(); return err })
	return func() {
		s.t.Helper()
		// A copy with the newest renewal in it would leave the leader in its
		// term until its next write.
		testkit.Eventually(s.t, func() error {
			now, err := s.lease()
			if err == nil && !now.Version.After(kept.Version) {
				err = errors.New("the lease is not renewed")
			}
			return err
		})
		s.bus.Shutdown()
		s.bus.Config.Store = older
		s.bus.Start()
	}
}

func (s *site) add(id string) {
	s.t.Helper()
	testkit.Within(s.t, 30*time.Second, func() error {
		_, err := s.scale(events.APIAdd, events.ScaleRequest{ID: id, N: 1})
		return err
	})
}

func (s *site) emitted(entity, verb string) (n int) {
	s.t.Helper()
	for _, e := range s.events() {
		if e.Entity == entity && e.Verb == verb {
			n++
		}
	}
	return n
}

// Agents and routers apply again, nothing that ran is stopped, and there is an event.
func TestController_BeginsANewLifeOfABusThatWentBack(t *testing.T) {
	t.Parallel()
	for _, moved := range []int{4, 8} {
		t.Run(fmt.Sprint(moved), func(t *testing.T) {
			s := newSite(t)
			two := func(c *controller.Config) { c.ExpectHosts = 2 }
			for _, id := range []string{"c1", "c2"} {
				conn := s.connect()
				s.leadWith(conn, conn, id, 2, two)
			}
			hosts, r1 := map[string]*fenced{"h1": s.fencedHost("h1"), "h2": s.fencedHost("h2")}, s.fencedRouter("r1")
			s.serving(2)
			restore := s.keep()
			s.serving(2)
			for i := range moved {
				s.add(fmt.Sprint("q", i))
			}
			s.serving(2 + moved)
			running := map[string][]string{}
			for name, h := range hosts {
				_, running[name] = h.applied()
			}
			restore()
			back := time.Now()
			testkit.Within(t, 30*time.Second, func() error {
				st, err := s.status()
				if err != nil {
					return err
				}
				if st.RolledBack == nil || st.RolledBack.Noticed.Before(back) {
					return errors.New("nobody noticed")
				}
				return nil
			})
			s.add("after")
			s.serving(3)
			t.Logf("all apply %s after the restart", time.Since(back).Round(time.Millisecond))
			testkit.Within(t, 10*time.Second, func() error {
				st, err := s.status()
				if err != nil {
					return err
				}
				if at, _ := r1.applied(); at != st.Services[0].Epoch {
					return fmt.Errorf("the router obeys %s, the epoch is %s", at, st.Services[0].Epoch)
				}
				return nil
			})
			for name, h := range hosts {
				_, now := h.applied()
				for _, was := range running[name] {
					if !slices.Contains(now, was) {
						t.Errorf("%s stopped %s", name, was)
					}
				}
			}
			// On a slow machine a leader may not get through, and the next one begins once more.
			if n, begun := s.emitted("bus", "rewound"), s.begun.Load(); n == 0 || int64(n) != begun {
				t.Errorf("told %d times, and begun %d times", n, begun)
			}
		})
	}
}

// Elections, restarts of the bus and leaders that are cut short move revisions
// too, but never back.
func TestController_TakesNoElectionForABusThatWentBack(t *testing.T) {
	s := newSite(t)
	s.fencedHost("h1")
	s.fencedHost("h2")
	s.fencedRouter("r1")
	stop := s.lead("c0", 2)
	s.serving(2)
	for i := range 8 {
		next := s.lead(fmt.Sprint("c", i+1), 2)
		switch i % 4 {
		case 0:
			s.add(fmt.Sprint("q", i))
			stop()
		case 1:
			stop()
			s.add(fmt.Sprint("q", i))
		case 2:
			s.restart(false)
			stop()
		case 3:
			stop()
			s.deleteLease()
		}
		stop = next
		s.serving(2 + (i/4)*2 + min(i%4+1, 2))
	}
	if st, err := s.status(); err != nil || st.RolledBack != nil || s.emitted("bus", "rewound") > 0 {
		t.Fatalf("%+v, %v: the bus never went back", st.RolledBack, err)
	}
}

// deleteLease ends the present leader's term, as if it had not renewed.
func (s *site) deleteLease() {
	s.t.Helper()
	testkit.Eventually(s.t, func() error {
		b, err := s.conn.Bucket(s.t.Context(), events.BucketLease)
		if err != nil {
			return err
		}
		e, err := s.lease()
		if err != nil {
			return err
		}
		return b.Delete(s.t.Context(), events.LeaseKey, e.Version)
	})
}

func (s *site) lease() (events.Entry, error) {
	b, err := s.conn.Bucket(s.t.Context(), events.BucketLease)
	if err != nil {
		return events.Entry{}, err
	}
	return b.Get(s.t.Context(), events.LeaseKey)
}
