package events_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/cloudevent"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	noon  = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
	term  = events.Token{Incarnation: "KMZB", Revision: 7}
	epoch = events.Epoch{Incarnation: "ROUT", Revision: 42}
	happy = events.Event{
		ID: "E1", Entity: events.EntityInstance, Verb: events.VerbReady, About: "web.1", Source: "controller/c1", Time: noon,
		Data: json.RawMessage(`{"host":"h1"}`),
	}
	decision = events.Decision{Term: term, Cause: []events.Event{happy}}
)

func sampleService() events.Service {
	spec := events.DefaultServiceSpec()
	spec.Functions = events.CourseFunctions{H: "i*i", Phi: "i+j"}
	spec.Command, spec.Env = []string{"ringway", "server"}, map[string]string{"A": "b"}
	spec.Image, spec.Port, spec.Limits = "shop:1.2", 8080, events.Limits{Memory: 256 << 20, CPUs: 0.5, PIDs: 100}
	before := events.DefaultServiceSpec()
	return events.Service{
		Spec:     spec,
		Replicas: []events.Replica{{Name: "quiet-fox", ID: 1, Next: "bold-cat"}, {Name: "S5", ID: 2, Request: "r1"}},
		Before:   &before, Stuck: "bold-cat did not become ready",
		Answered: []events.Answered{{Request: "r1", Added: []string{"S5"}, Removed: []string{"S4"}}},
		Decision: decision,
	}
}

func sampleRoute() events.Route {
	return events.Route{
		Service: "web", Algorithm: events.Balanced, LoadFactor: 1.25, Timeout: events.Duration(1500 * time.Millisecond),
		Functions: events.CourseFunctions{Phi: "i+j"},
		Key:       events.KeySource{From: "header", Name: "X-Ringway-Key"}, Paths: []string{"/home"},
		Members: []events.Member{
			{Name: "quiet-fox", ID: 1, Host: "h1", Address: "127.0.0.1:4001", Weight: 1},
			{Name: "S5", ID: 2, Host: "h2", Address: "127.0.0.1:4002", Weight: 0.5, Draining: true},
		},
		Slots:    events.Slots{0, 0, events.NoOwner, 1},
		Decision: decision,
	}
}

func sampleHostHeartbeat() events.HostHeartbeat {
	return events.HostHeartbeat{
		Host: "h1", Incarnation: "boot-1", Sent: noon, Token: term, Assigned: events.Version{Incarnation: "ASGN", Revision: 3},
		Load: events.Load{CPUs: 2, Load1: 0.5, Memory: 1 << 33, Free: 1 << 32},
		Instances: []events.InstanceStatus{
			{Name: "quiet-fox", Service: "web", ID: 1, State: events.Ready, Address: "127.0.0.1:4001", PID: 4242, Started: noon},
			{Name: "S5", Service: "web", ID: 2, State: events.Dead, Detail: "killed"},
		},
	}
}

func sampleRouterHeartbeat() events.RouterHeartbeat {
	return events.RouterHeartbeat{
		Router: "r1", Address: "127.0.0.1:5000", Sent: noon, Epochs: map[string]events.Epoch{"web": epoch},
		InFlight: map[string]map[string]int{"web": {"S5": 3}},
	}
}

func sampleControllerHeartbeat() events.ControllerHeartbeat {
	return events.ControllerHeartbeat{Controller: "c1", Term: term, Sent: noon, Epochs: map[string]events.Epoch{"web": epoch}}
}

func sampleAssignment() events.Assignment {
	return events.Assignment{
		Host: "h1",
		Instances: []events.InstanceSpec{
			{Name: "quiet-fox", Service: "web", ID: 1, Command: []string{"x", "-y"}, Env: map[string]string{"A": "b"}, Image: "shop:1.2", Port: 8080, Limits: events.Limits{Memory: 256 << 20, CPUs: 0.5, PIDs: 100}, Health: "/heartbeat", Grace: events.Duration(5 * time.Second)},
		},
		Decision: decision,
	}
}

func sampleStatus() events.Status {
	return events.Status{
		Controller: "c1", Term: term, Since: noon,
		Services:  []events.ServiceStatus{{Name: "web", Algorithm: events.Course, Wanted: 3, Serving: 2, Epoch: epoch}},
		Hosts:     []events.HostStatus{{Name: "h1", State: events.Suspect, Incarnation: "boot-1", Silent: events.Duration(2 * time.Second), Instances: 3}},
		Routers:   []events.RouterStatus{{ID: "r1", Address: "127.0.0.1:5000", Epochs: map[string]events.Epoch{"web": epoch}}},
		Instances: []events.InstanceReport{{Name: "quiet-fox", Service: "web", ID: 1, Host: "h1", State: events.Pending}},
	}
}

// What is in these files is on the wire between roles of different releases,
// and what people read on the bus: changing one is changing the contract.
func TestGolden(t *testing.T) {
	checkGolden(t, "host_beat", sampleHostHeartbeat(), events.DecodeHostHeartbeat)
	checkGolden(t, "router_beat", sampleRouterHeartbeat(), events.DecodeRouterHeartbeat)
	checkGolden(t, "controller_beat", sampleControllerHeartbeat(), events.DecodeControllerHeartbeat)
	checkGolden(t, "service", sampleService(), events.DecodeService)
	checkGolden(t, "assignment", sampleAssignment(), events.DecodeAssignment)
	checkGolden(t, "route", sampleRoute(), events.DecodeRoute)
	checkGolden(t, "event", happy, decodeJSON[events.Event])
	checkGolden(t, "event_headers", cloudevent.Headers(&happy), decodeJSON[map[string]string])
	checkGolden(t, "scale_request", events.ScaleRequest{ID: "r1", Service: "web", N: 2, Names: []string{"S5"}}, decodeJSON[events.ScaleRequest])
	checkGolden(t, "scale_reply", events.ScaleReply{
		Service: "web", Replicas: []string{"quiet-fox", "S5"}, Added: []string{"S5"}, Removed: []string{"S4"}, Epoch: epoch,
	}, decodeJSON[events.ScaleReply])
	checkGolden(t, "status", sampleStatus(), decodeJSON[events.Status])
	checkGolden(t, "refusal", *events.StatusErrorf(409, "name %q is in use", "S5"), decodeJSON[events.StatusError])
}

func decodeJSON[T any](b []byte) (T, error) {
	var v T
	err := json.Unmarshal(b, &v)
	return v, err
}

func checkGolden[T any](t *testing.T, name string, v T, decode func([]byte) (T, error)) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name+".json")
	got, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; write it with -update", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is\n%s\nwant\n%s", name, got, want)
	}
	back, err := decode(want)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	// Raw JSON keeps its white space; compare what it says.
	again, err := json.MarshalIndent(back, "", "  ")
	if err != nil || !bytes.Equal(append(again, '\n'), want) {
		t.Errorf("%s comes back as\n%s, %v", name, again, err)
	}
}

func TestDecode_ToleratesNewFields(t *testing.T) {
	b, err := events.DecodeHostHeartbeat([]byte(`{"host":"h1","colour":"blue","instances":[{"name":"w1","mood":3}]}`))
	if err != nil || b.Host != "h1" || b.Instances[0].Name != "w1" {
		t.Fatalf("got %+v, %v", b, err)
	}
}

func TestParseEvent_ReversesHeaders(t *testing.T) {
	for _, want := range []events.Event{
		happy,
		{ID: "bare", Entity: "host", Verb: "joined", About: "h1", Source: "agent/h1", Time: noon},
	} {
		h := cloudevent.Headers(&want)
		got, err := cloudevent.Parse(func(k string) string { return h[k] }, want.Data)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}
