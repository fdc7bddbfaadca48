package controller

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ringway/events"
)

// Scaled to 0, a service has no replica after a restart either.
func TestDecide_ScaledToNothingStaysSo(t *testing.T) {
	w := started(t, webConfig(3), "h1")
	w.scale(false, 3)
	w.run(3 * time.Second)
	w.elect()
	w.run(3 * time.Second)
	if len(w.replicas()) != 0 || len(w.agents["h1"]) != 0 {
		t.Fatalf("after a restart %v are wanted and %d run, want none", w.replicas(), len(w.agents["h1"]))
	}
	w.scale(true, 2)
	w.run(3 * time.Second)
	if len(w.members()) != 2 {
		t.Fatalf("%v serve after 2 were added to none", w.members())
	}
}

// Every change that was accepted survives encoding, a restart and decoding: the
// world keeps of each stored value what a later leader reads, and fails if it
// cannot be read.
func TestDecide_WhatIsAcceptedSurvivesARestart(t *testing.T) {
	t.Parallel() // with the sites, which wait
	rapid.Check(t, func(rt *rapid.T) {
		w := newSim(t, webConfig(rapid.IntRange(0, 4).Draw(rt, "replicas")), "h1", "h2")
		w.broken = "broken"
		w.run(3 * time.Second)
		w.init(events.InitRequest{N: 2, Replicas: 2})
		names := rapid.SampledFrom([]string{"", "S1", "S1", "web.1", "a..b", "x", "ünd", "-", "S2.", "web-1_"})
		for i := range rapid.IntRange(1, 4).Draw(rt, "changes") {
			before := w.s.Services["web"].Value.Spec
			switch rapid.IntRange(0, 5).Draw(rt, "change") {
			case 0, 1:
				n, add := rapid.IntRange(-1, 6).Draw(rt, "n"), rapid.Bool().Draw(rt, "add")
				var given []string
				if name := names.Draw(rt, "name"); name != "" {
					given = append(given, name)
				}
				w.scaleID(fmt.Sprint("q", i), add, n, given...)
			case 2: // all
				w.scaleID(fmt.Sprint("q", i), false, len(w.replicas()))
			case 3:
				next := drawSpec(rt, before)
				w.configure(fmt.Sprint("c", i), func(s *events.ServiceSpec) { *s = next })
			case 4:
				w.configureTableServers(fmt.Sprint("s", i), image(rapid.SampledFrom([]string{"", "new", "broken"}).Draw(rt, "image")))
			case 5:
				w.removeServers(rapid.IntRange(0, 2).Draw(rt, "servers"))
			}
			w.run(time.Duration(rapid.IntRange(0, 20).Draw(rt, "time")) * time.Second / 2)
		}
		w.run(2 * time.Second) // what was changed last is accepted
		want, ids := w.s.Services["web"].Value.Spec.Replicas, len(w.replicas())
		w.elect()
		w.run(time.Second)
		if got := len(w.replicas()); got != want || ids != want {
			rt.Fatalf("%d replicas are wanted after a restart, %d were before, of %d that were asked for", got, ids, want)
		}
	})
}

// drawSpec is a configuration at the edges of what may be.
func drawSpec(t *rapid.T, base events.ServiceSpec) events.ServiceSpec {
	base.Replicas = rapid.SampledFrom([]int{-1, 0, 1, 5, 12}).Draw(t, "replicas")
	base.Algorithm = rapid.SampledFrom([]string{events.Balanced, events.Course, ""}).Draw(t, "algorithm")
	base.Slots = rapid.SampledFrom([]int{0, 1, 9, 512, events.DefaultSlots, events.MaxSlots + 1}).Draw(t, "slots")
	base.LoadFactor = rapid.SampledFrom([]float64{0, 0.5, 1, 100, 101}).Draw(t, "load factor")
	base.Command = rapid.SampledFrom([][]string{nil, {}, {"app", "\x00", "<&>\u2028"}, {"broken"}}).Draw(t, "command")
	base.Env = rapid.SampledFrom([]map[string]string{nil, {}, {"A": "\n\"é"}}).Draw(t, "env")
	base.Paths = rapid.SampledFrom([][]string{nil, {}, {"/"}, {"x"}}).Draw(t, "paths")
	base.Limits.Memory = rapid.SampledFrom([]int64{0, 1, events.MinMemory, 1 << 62}).Draw(t, "memory")
	base.Grace = events.Duration(rapid.SampledFrom([]time.Duration{-1, 0, 1, time.Hour}).Draw(t, "grace"))
	return base
}
