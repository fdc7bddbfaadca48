package proxy

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringway/events"
	"ringway/internal/testkit"
	"ringway/router/ring"
)

// newTestProxy is a proxy that does not run, and its log.
func newTestProxy(t *testing.T) (*Proxy, *testkit.Buffer) {
	log := &testkit.Buffer{}
	p := New(DefaultConfig(), nil, make(chan struct{}, 1), prometheus.NewRegistry(), slog.New(slog.NewTextHandler(log, nil)))
	t.Cleanup(p.CloseAll)
	return p, log
}

func testMember(id int) events.Member {
	return events.Member{Name: fmt.Sprint("S", id), ID: id, Host: "h1", Address: "127.0.0.1:1", Weight: 1}
}

// testRoute gives every slot but one each of the others to the first member.
func testRoute(members ...events.Member) events.Route {
	slots := make([]uint16, 1024)
	for i := range members {
		slots[i] = uint16(i)
	}
	spec := events.DefaultServiceSpec()
	return events.Route{
		Service: "web", Algorithm: events.Balanced, Key: spec.Key, Timeout: spec.Timeout, Members: members, Slots: slots,
	}
}

func (p *Proxy) put(t *testing.T, revision uint64, r events.Route) {
	t.Helper()
	value, err := json.Marshal(r)
	testkit.Must(t, err)
	if !p.Apply(events.Entry{Key: events.ServiceKey("web"), Value: value, Version: events.Version{Incarnation: "one", Revision: revision}}) {
		t.Fatal("the route is not served")
	}
}

func TestApply(t *testing.T) {
	p, log := newTestProxy(t)
	r := testRoute(testMember(1), testMember(2))
	put := func(incarnation string, revision uint64, r events.Route) {
		t.Helper()
		value, err := json.Marshal(r)
		testkit.Must(t, err)
		p.Apply(events.Entry{Key: events.ServiceKey("web"), Value: value, Version: events.Version{Incarnation: incarnation, Revision: revision}})
	}
	serves := func(incarnation string, revision uint64) {
		t.Helper()
		s := p.snapshot.Load().service
		if s == nil || s.epoch != (events.Epoch{Incarnation: incarnation, Revision: revision}) {
			t.Fatalf("serves %+v, want %s/%d", s, incarnation, revision)
		}
	}
	put("one", 5, r)
	serves("one", 5)
	put("one", 4, r)
	serves("one", 5)
	put("one", 5, r)
	serves("one", 5)
	put("two", 1, r)
	serves("two", 1)
	bad := func(change func(*events.Route)) {
		t.Helper()
		r := testRoute(testMember(1), testMember(2))
		change(&r)
		put("two", 9, r)
		serves("two", 1)
	}
	bad(func(r *events.Route) { r.Algorithm = "other" })
	bad(func(r *events.Route) { r.Timeout = 0 })
	bad(func(r *events.Route) { r.LoadFactor = .5 })
	bad(func(r *events.Route) { r.Key.From = "moon" })
	bad(func(r *events.Route) { r.Key = events.KeySource{From: "cookie"} })
	bad(func(r *events.Route) { r.Members[0].Draining = true })
	bad(func(r *events.Route) { r.Members = append(r.Members, r.Members[0]) })
	bad(func(r *events.Route) { r.Service = "web2" })
	bad(func(r *events.Route) { r.Algorithm, r.Functions.H = events.Course, "i" })
	p.Apply(events.Entry{Key: events.ServiceKey("web"), Value: []byte("{"), Version: events.Version{Incarnation: "two", Revision: 10}})
	serves("two", 1)
	if n := strings.Count(log.String(), "route refused"); n != 10 {
		t.Errorf("%d refusals are logged, want 10", n)
	}
	p.Apply(events.Entry{Key: events.ServiceKey("web"), Version: events.Version{Incarnation: "three"}}) // a wiped bus does not know it yet
	serves("two", 1)
	p.Apply(events.Entry{Key: events.ServiceKey("web"), Version: events.Version{Incarnation: "two", Revision: 11}})
	if p.snapshot.Load().service != nil {
		t.Error("a deleted service is served")
	}
}

func TestReplace_KeepsWhatItKnowsOfMembersThatStay(t *testing.T) {
	p, _ := newTestProxy(t)
	p.put(t, 1, testRoute(testMember(1), testMember(2)))
	old := p.snapshot.Load().service
	moved := testMember(2)
	moved.Address = "127.0.0.1:2"
	p.put(t, 2, testRoute(moved, testMember(1)))
	now := p.snapshot.Load().service
	if now.members[1] != old.members[0] {
		t.Error("a member that stays is another one")
	}
	if now.members[0] == old.members[1] {
		t.Error("a member at a new address is the old one")
	}
	if now.load != old.load {
		t.Error("the service forgot its requests in flight")
	}
}

// A request that loaded its snapshot before a swap must not reach a member that
// a heartbeat may have reported as idle already.
func TestEnter_UsesTheNewestSnapshot(t *testing.T) {
	p, _ := newTestProxy(t)
	first, second := testMember(1), testMember(2)
	p.put(t, 1, testRoute(first, second))
	old := p.snapshot.Load()
	first.Draining = true
	drained := testRoute(first, second)
	for i := range drained.Slots {
		drained.Slots[i] = 1
	}
	p.put(t, 2, drained)
	for hash := range uint64(100) {
		_, a := p.enter(old, hash<<56, nil)
		_, b := p.enter(old, hash<<56, []*member{old.service.members[0]})
		if a.name != "S2" || b.name != "S2" {
			t.Fatalf("got %s and %s", a.name, b.name)
		}
	}
	if n := p.snapshot.Load().service.members[0].inflight.Load(); n != 0 {
		t.Errorf("%d in flight at the draining member", n)
	}
}

func TestEnter_BoundsTheLoadOfAMember(t *testing.T) {
	p, _ := newTestProxy(t)
	r := testRoute(testMember(1), testMember(2), testMember(3))
	r.LoadFactor = 1.25
	for i := range r.Slots {
		r.Slots[i] = uint16(i % 3)
	}
	p.put(t, 1, r)
	const n = 120
	for range n { // the same key every time, and none of them ends
		if _, m := p.enter(p.snapshot.Load(), 42, nil); m == nil {
			t.Fatal("no member")
		}
	}
	spread := 0
	for _, m := range p.snapshot.Load().service.members {
		if got := m.inflight.Load(); got > 50 { // ceil(1.25 · 120 / 3)
			t.Errorf("%s has %d of %d requests", m.name, got, n)
		} else if got > 0 {
			spread++
		}
	}
	if spread != 3 { // 50 + 50 + 20
		t.Errorf("%d members have requests, want 3", spread)
	}
}

func TestApply_CourseHasNoBoundedLoad(t *testing.T) {
	p, _ := newTestProxy(t)
	r := events.Route{
		Service: "web", Algorithm: events.Course, LoadFactor: 1.25, Key: events.DefaultServiceSpec().Key, Timeout: events.Duration(time.Second),
		Members: []events.Member{testMember(1), testMember(2), testMember(3)},
	}
	var members []ring.Member
	for _, m := range r.Members {
		members = append(members, ring.Member{Name: m.Name, ID: m.ID, Weight: 1})
	}
	table, err := ring.Course(events.CourseSlots, events.CourseK, members, ring.Official())
	testkit.Must(t, err)
	r.Slots = table.Slots()
	p.put(t, 1, r)
	s := p.snapshot.Load().service
	if s.bounds != nil {
		t.Error("course has bounded load")
	}
	if got := s.table.Owner(s.table.Slot(132574 - 100000)); got != 2 {
		t.Errorf("request 132574 goes to member %d", got)
	}
}
