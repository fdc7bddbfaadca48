package runtimetest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"ringway/agent"
	"ringway/agent/runtimetest"
	"ringway/events"
	"ringway/internal/testkit"
)

// harness is what the suite needs to know of an implementation, which runs
// runtimetest.FakeShard for `ringway shard`.
type harness struct {
	// Open opens a runtime on the same host and state each time it is called in
	// one test: after close, the next is a successor.
	Open func(t *testing.T) (rt agent.Runtime, close func())
	// Kill ends the instance at once, behind the runtime's back.
	Kill func(t *testing.T, in agent.Instance)
	// IgnoresSIGTERM is an instance that ignores SIGTERM once ready returns nil.
	IgnoresSIGTERM func(t *testing.T, name string) (spec events.InstanceSpec, ready func() error)
}

// run runs the suite. begin is called for each of its tests.
func run(t *testing.T, begin func(t *testing.T) harness) {
	for name, test := range map[string]func(*testing.T, *fixture){
		"StartServesAndIsListed":      startServesAndIsListed,
		"RunsACommand":                runsACommand,
		"NameIsUsedOnce":              nameIsUsedOnce,
		"StopIsGracefulAndIdempotent": stopIsGracefulAndIdempotent,
		"StopEndsTheStubborn":         stopKillsAfterTheGracePeriod,
		"StopObeysItsContext":         stopEndsWithItsContext,
		"DeathIsReportedAtOnce":       deathIsReportedAtOnce,
		"EndByItselfIsExplained":      endByItselfIsExplained,
		"CommandThatIsNotThere":       commandThatIsNotThere,
		"ForgetRefusesTheLiving":      forgetRefusesTheLiving,
		"SuccessorAdopts":             successorAdopts,
		"ManyAtOnce":                  manyAtOnce,
		"ShardServerIsStarted":        shardServerIsStarted,
		"VolumeOutlivesItsInstances":  volumeOutlivesItsInstances,
		"VolumeOfTwo":                 volumeOfTwo,
		"CommandWithAVolume":          commandWithAVolume,
		"SpecThatCannotBe":            specThatCannotBe,
	} {
		t.Run(name, func(t *testing.T) {
			f := &fixture{t: t, harness: begin(t)}
			f.open()
			defer f.cleanUp()
			test(t, f)
		})
	}
}

// fixture is one runtime, which runs, and what it reported.
type fixture struct {
	harness
	t    *testing.T
	rt   agent.Runtime
	stop func()

	mu     sync.Mutex
	deaths []agent.Instance
}

func (f *fixture) open() {
	f.t.Helper()
	rt, closeRuntime := f.Open(f.t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- rt.Run(ctx, func(in agent.Instance) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.deaths = append(f.deaths, in)
		})
	}()
	f.rt = rt
	f.stop = func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Errorf("run: %v", err)
		}
		closeRuntime()
	}
}

// cleanUp leaves nothing behind, whatever the test did.
func (f *fixture) cleanUp() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	all, err := f.rt.List(ctx)
	if err != nil {
		f.t.Errorf("list: %v", err)
	}
	for _, in := range all {
		if err := errors.Join(f.rt.Stop(ctx, in.Spec.Name, 0), f.rt.Forget(ctx, in.Spec.Name)); err != nil {
			f.t.Errorf("clean up: %v", err)
		}
	}
	f.stop()
}

func (f *fixture) start(spec events.InstanceSpec) agent.Instance {
	f.t.Helper()
	in, err := f.rt.Start(f.t.Context(), spec, runtimetest.Token)
	if err != nil {
		f.t.Fatal(err)
	}
	return in
}

func (f *fixture) startIgnoringSIGTERM(name string) {
	f.t.Helper()
	spec, ready := f.IgnoresSIGTERM(f.t, name)
	f.start(spec)
	testkit.Eventually(f.t, ready)
}

func (f *fixture) find(name string) (agent.Instance, bool) {
	f.t.Helper()
	all, err := f.rt.List(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(in agent.Instance) bool { return in.Spec.Name == name })
	if i < 0 {
		return agent.Instance{}, false
	}
	return all[i], true
}

func (f *fixture) died(name string) func() error {
	return func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, in := range f.deaths {
			if in.Spec.Name == name && !in.Running {
				return nil
			}
		}
		return fmt.Errorf("no death of %s among %v", name, f.deaths)
	}
}
