package events_test

import (
	"encoding/json"
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/cloudevent"
)

// refused demands an error that says want.
func refused(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want an error about %q", err, want)
	}
}

func encoded(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecodeHostHeartbeat_Refuses(t *testing.T) {
	f := func(want string, change func(*events.HostHeartbeat)) {
		t.Helper()
		b := sampleHostHeartbeat()
		change(&b)
		_, err := events.DecodeHostHeartbeat(encoded(t, b))
		refused(t, err, want)
	}
	f("host", func(b *events.HostHeartbeat) { b.Host = "" })
	f("host", func(b *events.HostHeartbeat) { b.Host = "a b" })
	f(`"h1"`, func(b *events.HostHeartbeat) { b.Instances[1].Name = "../x" })
	_, err := events.DecodeHostHeartbeat([]byte("{"))
	refused(t, err, "decode heartbeat of an agent")
}

func TestDecodeHeartbeats_Refuse(t *testing.T) {
	_, err := events.DecodeRouterHeartbeat([]byte(`{}`))
	refused(t, err, "router is missing")
	_, err = events.DecodeRouterHeartbeat([]byte(`[]`))
	refused(t, err, "decode heartbeat of a router")
	_, err = events.DecodeControllerHeartbeat([]byte(`{}`))
	refused(t, err, "controller is missing")
	_, err = events.DecodeControllerHeartbeat(nil)
	refused(t, err, "decode heartbeat of the controller")
}

func TestDecodeAssignment_Refuses(t *testing.T) {
	f := func(want string, change func(*events.Assignment)) {
		t.Helper()
		a := sampleAssignment()
		change(&a)
		_, err := events.DecodeAssignment(encoded(t, a))
		refused(t, err, want)
	}
	f("host", func(a *events.Assignment) { a.Host = "" })
	f(`name ""`, func(a *events.Assignment) { a.Instances[0].Name = "" })
	f("named twice", func(a *events.Assignment) { a.Instances = append(a.Instances, a.Instances[0]) })
	_, err := events.DecodeAssignment([]byte("x"))
	refused(t, err, "decode assignment")
}

func TestDecodeRoute_Refuses(t *testing.T) {
	f := func(want string, change func(*events.Route)) {
		t.Helper()
		r := sampleRoute()
		change(&r)
		_, err := events.DecodeRoute(encoded(t, r))
		refused(t, err, want)
	}
	f("service", func(r *events.Route) { r.Service = "" })
	f("no slots", func(r *events.Route) { r.Slots = nil })
	f("slot 1 names member 2 of 2", func(r *events.Route) { r.Slots[1] = 2 })
	f("no name", func(r *events.Route) { r.Members[0].Name = "" })
	f("no address", func(r *events.Route) { r.Members[0].Address = "" })
	f("weight 0", func(r *events.Route) { r.Members[0].Weight = 0 })
	f("weight -1", func(r *events.Route) { r.Members[0].Weight = -1 })
	for _, slots := range []string{`"AAA="`, `"A"`, `"ä"`, `7`, `"` + strings.Repeat("AAAA", events.MaxSlots) + `"`} {
		_, err := events.DecodeRoute([]byte(`{"service":"web","slots":` + slots + `}`))
		refused(t, err, "decode route")
	}
}

func TestDecodeRoute_NobodyLeft(t *testing.T) {
	r := sampleRoute()
	r.Members, r.Slots = nil, events.Slots{events.NoOwner, events.NoOwner}
	if got, err := events.DecodeRoute(encoded(t, r)); err != nil || len(got.Slots) != 2 {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func TestDecodeService_Refuses(t *testing.T) {
	f := func(want string, change func(*events.Service)) {
		t.Helper()
		s := sampleService()
		change(&s)
		_, err := events.DecodeService(encoded(t, s))
		refused(t, err, want)
	}
	f("replicas", func(s *events.Service) { s.Spec.Replicas = -1 })
	f("name", func(s *events.Service) { s.Replicas[0].Name = "-" })
	f("repeated", func(s *events.Service) { s.Replicas[0].Name = "S5" })
	f("repeated", func(s *events.Service) { s.Replicas[0].ID = 2 })
	f("no id", func(s *events.Service) { s.Replicas[0].ID = 0 })
	f("cannot follow", func(s *events.Service) { s.Replicas[1].Next = "quiet-fox" })
	f("before", func(s *events.Service) { s.Before.Replicas = -1 })
}

func TestServiceSpec_Validate(t *testing.T) {
	f := func(want string, change func(*events.ServiceSpec)) {
		t.Helper()
		s := events.DefaultServiceSpec()
		change(&s)
		if err := s.Validate(); want != "" {
			refused(t, err, want)
		} else if err != nil {
			t.Errorf("refused: %v", err)
		}
	}
	course := func(n int) func(s *events.ServiceSpec) {
		return func(s *events.ServiceSpec) { s.Algorithm, s.Slots, s.Replicas = events.Course, events.CourseSlots, n }
	}
	f("", func(*events.ServiceSpec) {})
	f("", course(56))
	f("replicas: 57", course(57))
	f("", func(s *events.ServiceSpec) { s.LoadFactor = 0 })
	f("", func(s *events.ServiceSpec) { s.Key = events.KeySource{From: "address"} })
	f("", func(s *events.ServiceSpec) { s.Paths = nil })
	f("", func(s *events.ServiceSpec) { s.Slots, s.Replicas = events.MaxSlots, events.MaxMembers })
	f("name", func(s *events.ServiceSpec) { s.Name = "" })
	f("algorithm", func(s *events.ServiceSpec) { s.Algorithm = "random" })
	f("slots", func(s *events.ServiceSpec) { s.Slots = 0 })
	f("slots", func(s *events.ServiceSpec) { s.Slots = events.MaxSlots + 1 })
	f("replicas", func(s *events.ServiceSpec) { s.Replicas = -1 })
	f("replicas", func(s *events.ServiceSpec) { s.Replicas = events.MaxMembers + 1 })
	f("replicas", func(s *events.ServiceSpec) { s.Slots = 2 })
	f("load_factor", func(s *events.ServiceSpec) { s.LoadFactor = 0.9 })
	f("load_factor", func(s *events.ServiceSpec) { s.LoadFactor = math.NaN() })
	f("load_factor", func(s *events.ServiceSpec) { s.LoadFactor = math.Inf(1) })
	f("key.from", func(s *events.ServiceSpec) { s.Key.From = "moon" })
	f("key.name", func(s *events.ServiceSpec) { s.Key = events.KeySource{From: "cookie"} })
	f("health", func(s *events.ServiceSpec) { s.Health = "heartbeat" })
	f("timeout", func(s *events.ServiceSpec) { s.Timeout = 0 })
	f("drain", func(s *events.ServiceSpec) { s.Drain = -1 })
	f("grace", func(s *events.ServiceSpec) { s.Grace = -1 })
	f("paths", func(s *events.ServiceSpec) { s.Paths = []string{"/ok", "home"} })
}

func TestValidName(t *testing.T) {
	for _, name := range []string{"web", "S5", "a1", "quiet-fox_2.b", strings.Repeat("x", 63)} {
		if err := events.ValidName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "a", "-a", ".a", "_a", "a b", "a/b", "ä1", "a\n", "a..b", "ab.", strings.Repeat("x", 64), strings.Repeat("x", 1<<20)} {
		err := events.ValidName(name)
		refused(t, err, "name")
		if err != nil && len(err.Error()) > 300 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	}
}

func TestSubjects(t *testing.T) {
	f := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(events.AgentSubject("h1"), "ringway.hb.agent.h1")
	f(events.AgentSubject("h1.example.org"), "ringway.hb.agent.h1_example_org")
	f(events.RouterSubject("a*b>c d\n"), "ringway.hb.router.a_b_c_d_")
	f(events.RouterSubject(""), "ringway.hb.router._")
	f(events.APISubject(events.APIRemove), "ringway.api.rm")
	f(events.ServiceKey("web"), "service.web")
	f(happy.Subject(), "ringway.evt.instance.ready.web_1")
	f(happy.Type(), "io.ringway.instance.ready")
}

func TestVersion(t *testing.T) {
	a1, a2, b1 := events.Version{Incarnation: "a", Revision: 1}, events.Version{Incarnation: "a", Revision: 2}, events.Version{Incarnation: "b", Revision: 1}
	for what, ok := range map[string]bool{
		"later is after":           a2.After(a1),
		"equal is not after":       !a1.After(a1),
		"earlier is not after":     !a1.After(a2),
		"foreign is not after":     !a2.After(b1) && !b1.After(a1),
		"other lives are foreign":  a1.Foreign(b1),
		"same life is not foreign": !a1.Foreign(a2),
		"zero is foreign to none":  !a1.Foreign(events.Version{}) && !(events.Version{}).Foreign(a1),
		"zero is zero":             (events.Version{}).Zero() && !a1.Zero(),
		"text":                     a2.String() == "a/2" && events.Version{}.String() == "none",
	} {
		if !ok {
			t.Errorf("not true: %s", what)
		}
	}
}

func TestDuration_Text(t *testing.T) {
	var d events.Duration
	if err := d.UnmarshalText([]byte("1.5s")); err != nil || d.D() != 1500*time.Millisecond || d.String() != "1.5s" {
		t.Errorf("got %v, %v", d, err)
	}
	for _, bad := range []string{"", "5", "soon", "1h30"} {
		refused(t, d.UnmarshalText([]byte(bad)), "with a unit")
	}
	refused(t, json.Unmarshal([]byte(`{"timeout":5}`), &events.ServiceSpec{}), "number")
}

func TestEntry_Deleted(t *testing.T) {
	if !(events.Entry{}).Deleted() || (events.Entry{Value: []byte{}}).Deleted() {
		t.Error("an empty value is not a deleted one")
	}
}

func TestNewEvent_HasAnIDOfItsOwn(t *testing.T) {
	a := events.NewEvent("c", "host", "joined", "h1", noon, nil)
	b := events.NewEvent("c", "host", "joined", "h1", noon, nil)
	if a.ID == "" || a.ID == b.ID {
		t.Errorf("ids %q and %q", a.ID, b.ID)
	}
}

func TestParseEvent_Refuses(t *testing.T) {
	f := func(want, key, value string) {
		t.Helper()
		h := maps.Clone(cloudevent.Headers(&happy))
		h[key] = value
		_, err := cloudevent.Parse(func(k string) string { return h[k] }, happy.Data)
		refused(t, err, want)
	}
	f("ce-specversion", "ce-specversion", "0.3")
	f("ce-id", "ce-id", "")
	f("ce-time", "ce-time", "noon")
	f("out of range", "ce-time", "9999-12-31T23:59:59-23:59") // year 10000 in UTC, which nobody can write again
	f("ce-type", "ce-type", "com.example.x")
	f("ce-type", "ce-type", "io.ringway.instance")
	f("ce-type", "ce-type", "io.ringway.instance.ready.now")
	f("ce-type", "ce-type", "io.ringway.*.>")
	f("ce-source", "ce-source", "/other")
	_, err := cloudevent.Parse(func(k string) string { return cloudevent.Headers(&happy)[k] }, []byte("{"))
	refused(t, err, "no JSON")
}
