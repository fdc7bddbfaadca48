package events_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"ringway/events"
	"ringway/events/size"
)

// named is the n-th of names of the greatest length.
func named(kind string, n int) string {
	return fmt.Sprintf("%s%0*d", kind, events.MaxNameBytes-len(kind), n)
}

// ofBytes is a service whose specification takes so many bytes.
func ofBytes(t *testing.T, name string, n int) events.ServiceSpec {
	t.Helper()
	spec := events.DefaultServiceSpec()
	spec.Name, spec.Image = name, "a"+strings.Repeat("b", 254)
	spec.Env = map[string]string{"LARGE": ""}
	spec.Env["LARGE"] = strings.Repeat("x", n-size.EncodedBytes(spec))
	if err := size.CheckSpecSize(spec); err != nil && n <= size.MaxSpecBytes {
		t.Fatal(err)
	}
	return spec
}

func assigned(spec events.ServiceSpec, from, n int) (all []events.InstanceSpec) {
	for i := from; i < from+n; i++ {
		all = append(all, events.InstanceSpec{
			Name: named("i", i), Service: spec.Name, ID: i + 1, Command: spec.Command, Env: spec.Env, Image: spec.Image, Health: spec.Health, Grace: spec.Grace,
		})
	}
	return all
}

func causes() (all []events.Event) {
	for bytes := 0; bytes < size.MaxCauseBytes; {
		e := events.NewEvent("controller/c1", events.EntityInstance, events.VerbAssigned, named("i", len(all)), noon, map[string]any{"host": named("h", 1)})
		bytes += size.EncodedBytes(e)
		all = append(all, e)
	}
	return all[1:]
}

func TestSizes_TheLargestValuesFit(t *testing.T) {
	fits := func(what string, v any) {
		t.Helper()
		if n := size.EncodedBytes(v); n > size.MaxValueBytes {
			t.Errorf("the largest %s takes %d bytes, a value may take %d", what, n, size.MaxValueBytes)
		} else {
			t.Logf("the largest %s: %d bytes of %d", what, n, size.MaxValueBytes)
		}
	}
	decision := events.Decision{Term: term, Former: term, Cause: causes()}

	before := ofBytes(t, named("s", 1), size.MaxSpecBytes)
	service := events.Service{Spec: ofBytes(t, named("s", 1), size.MaxSpecBytes), Before: &before, Stuck: strings.Repeat("x", 1000), Decision: decision}
	var names []string
	for i := range events.MaxMembers {
		service.Replicas = append(service.Replicas, events.Replica{Name: named("i", i), ID: i + 1, Request: strings.Repeat("r", events.MaxRequestBytes), Next: named("n", i)})
	}
	for i := range size.MaxAnsweredNames {
		names = append(names, named("i", i))
	}
	service.Answered = []events.Answered{{Request: strings.Repeat("r", events.MaxRequestBytes), Added: names}}
	fits("service", service)

	a := events.Assignment{Host: named("h", 1), Decision: decision}
	n := 2 * size.MaxSpecsBytes / size.MaxSpecBytes
	for i := range n {
		a.Instances = append(a.Instances, assigned(ofBytes(t, named("s", i), size.MaxSpecBytes), len(a.Instances), events.MaxInstances/n)...)
	}
	fits("assignment", a)

	route := events.Route{Service: named("s", 1), Algorithm: events.Balanced, Slots: make(events.Slots, events.MaxSlots), Decision: decision}
	for i := range events.MaxMembers {
		route.Members = append(route.Members, events.Member{Name: named("i", i), ID: i + 1, Host: named("h", 1), Address: "[2001:0db8:0000:0000:0000:ff00:0042:8329]:65535", Weight: 1, Draining: true})
	}
	for i := range route.Slots {
		route.Slots[i] = uint16(999)
	}
	fits("route", route)
}

func TestAssignment_StoresALargeEnvironmentOnce(t *testing.T) {
	first, second := ofBytes(t, "shop", 50_000), ofBytes(t, "shop", 50_000)
	second.Env = map[string]string{"LARGE": strings.Repeat("y", 49_000)}
	a := events.Assignment{Host: "h1", Decision: decision}
	a.Instances = append(assigned(first, 0, 100), assigned(second, 100, 100)...)
	a.Instances[7].Volume = "vol-7"
	b, err := json.Marshal(a)
	if err != nil || len(b) > 150_000 {
		t.Fatalf("200 replicas with 50 KB each take %d bytes, %v; want two specifications and names", len(b), err)
	}
	back, err := events.DecodeAssignment(b)
	if err != nil || !reflect.DeepEqual(back, a) {
		t.Fatalf("it comes back otherwise: %v", err)
	}
}

// A release of before knows no specifications that are shared: it must not
// run instances without their environment.
func TestAssignment_AnOlderReleaseRefusesWhatItCannotRead(t *testing.T) {
	type older struct {
		Host      string `json:"host"`
		Instances []struct {
			Name string            `json:"name"`
			Env  map[string]string `json:"env"`
		} `json:"instances"`
	}
	decode := func(bytes, replicas int) (o older, err error) {
		a := events.Assignment{Host: "h1", Instances: assigned(ofBytes(t, "shop", bytes), 0, replicas), Decision: decision}
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		return o, json.Unmarshal(b, &o)
	}
	if o, err := decode(2000, 20); err != nil || len(o.Instances) != 20 || o.Instances[19].Env["LARGE"] == "" {
		t.Errorf("20 replicas with 2 KB: %v; want them as every release reads them", err)
	}
	if _, err := decode(50_000, 20); err == nil {
		t.Error("20 replicas with 50 KB were read, and their environment was not")
	}
}

func TestDecodeAssignment_RefusesAnUnknownSpecification(t *testing.T) {
	_, err := events.DecodeAssignment([]byte(`{"host":"h1","specs":{"aa":{"service":"web"}},"instances":[{"name":"w1","id":1,"env":"bb"}]}`))
	if err == nil || !strings.Contains(err.Error(), `no specification "bb"`) {
		t.Errorf("got %v", err)
	}
}

func TestCheckSpecSize_SaysTheNumbers(t *testing.T) {
	err := size.CheckSpecSize(ofBytes(t, "shop", size.MaxSpecBytes+1))
	if err == nil || !strings.HasPrefix(err.Error(), "env: ") || !strings.Contains(err.Error(), "65537") || !strings.Contains(err.Error(), "65536") {
		t.Errorf("got %v, want the field and both numbers", err)
	}
	if err := size.CheckSpecsSize(size.MaxSpecsBytes + 1); err == nil || !strings.Contains(err.Error(), "262145") {
		t.Errorf("got %v, want the number", err)
	}
}
