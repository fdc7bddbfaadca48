package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringway/events"
)

func entryOf(t testing.TB, term events.Token, revision uint64, names ...string) events.Entry {
	t.Helper()
	a := events.Assignment{Host: "host-1", Decision: events.Decision{Term: term}}
	for _, n := range names {
		a.Instances = append(a.Instances, events.InstanceSpec{Name: n, Service: "web", ID: 1, Health: "/heartbeat"})
	}
	b, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	return events.Entry{Key: "host-1", Value: b, Version: events.Version{Incarnation: "kv-" + term.Incarnation, Revision: revision}}
}

func term(incarnation string, revision uint64) events.Token {
	return events.Token{Incarnation: incarnation, Revision: revision}
}

func emptyFence(t *testing.T) fence {
	t.Helper()
	f, err := loadFence(filepath.Join(t.TempDir(), "agent.json"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFence_RefusesOlderTermsOfOneLife(t *testing.T) {
	f := emptyFence(t)
	apply := func(e events.Entry) {
		t.Helper()
		o, err := f.check("host-1", e)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.fence.save(); err != nil {
			t.Fatal(err)
		}
		if f, err = loadFence(f.path); err != nil { // a successor judges alike
			t.Fatal(err)
		}
	}
	refuse := func(e events.Entry, why string) {
		t.Helper()
		if _, err := f.check("host-1", e); err == nil || !strings.Contains(err.Error(), why) {
			t.Fatalf("got %v, want %q", err, why)
		}
	}
	apply(entryOf(t, term("a", 5), 1, "S1"))
	apply(entryOf(t, term("a", 5), 1, "S1")) // told again
	apply(entryOf(t, term("a", 5), 2, "S1", "S2"))
	refuse(entryOf(t, term("a", 4), 3, "S1"), "older than 5")
	refuse(entryOf(t, term("a", 5), 1, "S1"), errOvertaken.Error())
	apply(entryOf(t, term("a", 9), 3))
	apply(entryOf(t, term("b", 1), 1, "S9")) // a wiped bus begins again at 1
	if f.Token != term("b", 1) {
		t.Fatalf("token is %v", f.Token)
	}
	refuse(entryOf(t, term("a", 8), 99, "S1"), "older than 9") // and the old life is not forgotten
}

func TestFence_RefusesRubbish(t *testing.T) {
	f := emptyFence(t)
	for _, v := range []string{``, `x`, `null`, `{}`, `{"host":"host-2","term":{"incarnation":"a","revision":1}}`, `{"host":"host-1"}`,
		`{"host":"host-1","instances":[{"name":"../x"}],"term":{"incarnation":"a","revision":1}}`,
		`{"host":"host-1","instances":[{"name":"S1"},{"name":"S1"}],"term":{"incarnation":"a","revision":1}}`} {
		if o, err := f.check("host-1", events.Entry{Value: []byte(v)}); err == nil {
			t.Errorf("%s: accepted as %+v", v, o)
		}
	}
}

func TestLoadFence_RefusesRubbish(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.json")
	for _, v := range []string{``, `{"tok`, `null`, `{"newest":null,"owners":{}}`} {
		if err := os.WriteFile(path, []byte(v), 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := loadFence(path)
		if v == `null` { // leaves the empty fence as it is
			continue
		}
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: got %+v, %v", v, f, err)
		}
	}
}

func TestFence_IsBounded(t *testing.T) {
	f := emptyFence(t)
	for i := range 100 {
		names := make([]string, 100)
		for j := range names {
			names[j] = fmt.Sprintf("S%d-%d", i, j)
		}
		o, err := f.check("host-1", entryOf(t, term(fmt.Sprintf("life-%d", i), 1), 1, names...))
		if err != nil {
			t.Fatal(err)
		}
		f = o.fence
		if f.Owners[names[0]] == "" || f.Newest[f.Token.Incarnation] != 1 {
			t.Fatal("it forgot what it has just obeyed")
		}
	}
	if len(f.Owners) != maxOwners || len(f.Newest) != maxIncarnations {
		t.Fatalf("%d owners, %d incarnations", len(f.Owners), len(f.Newest))
	}
}

func TestPlan(t *testing.T) {
	now := time.Unix(1000, 0)
	entries := func(change func(map[string]*entry)) map[string]*entry {
		all := map[string]*entry{}
		for _, n := range []string{"S1", "S2"} {
			spec := events.InstanceSpec{Name: n}
			all[n] = &entry{spec: spec, phase: running, in: Instance{Spec: spec, Token: term("a", 1)}}
		}
		change(all)
		return all
	}
	nothing := func(map[string]*entry) {}
	judged := func(incarnation string, owners map[string]string, names ...string) *accepted {
		f := emptyFence(t)
		for k, v := range owners {
			f.Owners[k] = v
		}
		o, err := f.check("host-1", entryOf(t, term(incarnation, 1), 1, names...))
		if err != nil {
			t.Fatal(err)
		}
		return &o
	}
	for _, c := range []struct {
		name     string
		entries  map[string]*entry
		accepted *accepted
		closing  bool
		want     string
	}{
		{"no news", entries(nothing), nil, false, ""},
		{"all as it should be", entries(nothing), judged("a", nil, "S1", "S2"), false, ""},
		{"one more", entries(nothing), judged("a", nil, "S1", "S2", "S3"), false, "start S3"},
		{"one less", entries(nothing), judged("a", nil, "S1"), false, "remove S2"},
		{"none", entries(nothing), judged("a", nil), false, "remove S1, remove S2"},
		{"dead and wanted", entries(func(m map[string]*entry) { m["S1"].phase = dead }), judged("a", nil, "S1", "S2"), false, ""},
		{"dead and unwanted", entries(func(m map[string]*entry) { m["S1"].phase = dead }), judged("a", nil, "S2"), false, "remove S1"},
		{"busy", entries(func(m map[string]*entry) { m["S1"].busy = start }), judged("a", nil), false, "remove S2"},
		{"retry later", entries(func(m map[string]*entry) { m["S1"].retryAt = now.Add(1) }), judged("a", nil), false, "remove S2"},
		{"asked to end, wanted again", entries(func(m map[string]*entry) { m["S1"].phase = stopping }), judged("a", nil, "S1", "S2"), false, "remove S1"},
		{"foreign life", entries(nothing), judged("b", nil), false, ""},
		{"foreign life, one more", entries(nothing), judged("b", nil, "S3"), false, "start S3"},
		{"foreign life that named it once", entries(nothing), judged("b", map[string]string{"S1": "b"}), false, "remove S1"},
		{"foreign life, dead", entries(func(m map[string]*entry) { m["S1"].phase = dead }), judged("b", nil), false, "remove S1"},
		{"life unknown", entries(func(m map[string]*entry) { m["S1"].in.Token = events.Token{} }), judged("b", nil), false, "remove S1"},
		{"closing", entries(func(m map[string]*entry) { m["S1"].phase = dead }), judged("b", nil, "S1", "S2", "S3"), true, "remove S1, remove S2"},
		{"closing without news", entries(nothing), nil, true, "remove S1, remove S2"},
	} {
		var got []string
		for _, s := range plan(c.entries, c.accepted, c.closing, now) {
			got = append(got, string(s.verb)+" "+s.spec.Name)
		}
		if strings.Join(got, ", ") != c.want {
			t.Errorf("%s: got %q, want %q", c.name, strings.Join(got, ", "), c.want)
		}
	}
}

func TestHealth(t *testing.T) {
	cfg := DefaultConfig()
	begun := time.Unix(1000, 0)
	bad := errors.New("refused")
	f := func(want, detail string, after time.Duration, results ...error) {
		t.Helper()
		e := &entry{phase: running, health: health{from: begun}}
		for _, err := range results {
			e.health = e.health.after(err, cfg.ProbeFails)
		}
		if s := e.status(cfg, begun.Add(after)); s.State != want || !strings.Contains(s.Detail, detail) || (detail == "") != (s.Detail == "") {
			t.Errorf("%v after %s: got %s, %q", results, after, s.State, s.Detail)
		}
	}
	f(events.Starting, "", 0)
	f(events.Starting, "refused", time.Second, bad, bad, bad, bad)
	f(events.Unready, "within 30s: refused", 31*time.Second, bad)
	f(events.Ready, "", time.Second, bad, nil)
	f(events.Ready, "", time.Second, nil, bad, bad)
	f(events.Ready, "", time.Second, nil, bad, bad, nil, bad, bad)
	f(events.Unready, "refused", time.Second, nil, bad, bad, bad)
	f(events.Ready, "", time.Hour, nil, bad, bad, bad, nil)
}
