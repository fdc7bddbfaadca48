package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync/atomic"
	"time"

	"ringway/events"
	"ringway/events/follow"
	"ringway/internal/statedir"
)

// fence is what an agent and its successors remember of applied assignments.
type fence struct {
	Token    events.Token      `json:"token,omitzero"`    // applied last
	Assigned events.Version    `json:"assigned,omitzero"` // applied last
	Newest   map[string]uint64 `json:"newest"`            // newest term applied, by incarnation: a restored bus may come back
	Owners   map[string]string `json:"owners"`            // incarnation that last named an instance; the version that did, once its bucket began another life

	path string
}

// accepted is an assignment that the fence let pass.
type accepted struct {
	assignment events.Assignment
	fence      fence
}

const (
	maxOwners       = 4096 // names that a fence remembers
	maxIncarnations = 64
)

// errOvertaken: an assignment that was applied or overtaken; a reader of the bus
// may be behind.
var errOvertaken = errors.New("older than the one obeyed")

func loadFence(path string) (fence, error) {
	f := fence{Newest: map[string]uint64{}, Owners: map[string]string{}, path: path}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return fence{}, fmt.Errorf("load what was obeyed: %w", err)
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return fence{}, fmt.Errorf("load what was obeyed from %s: %w; if you remove the file, an older leader may be obeyed once", path, err)
	}
	if f.Newest == nil || f.Owners == nil { // JSON null
		return fence{}, fmt.Errorf("load what was obeyed from %s: it is not whole; if you remove it, an older leader may be obeyed once", path)
	}
	return f, nil
}

func (f fence) save() error {
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("remember what is obeyed: %w", err)
	}
	if err := statedir.WriteFile(f.path, append(b, '\n')); err != nil {
		return fmt.Errorf("remember what is obeyed: %w", err)
	}
	return nil
}

// check decides whether entry may be applied, and what to remember before.
func (f fence) check(host string, entry events.Entry) (accepted, error) {
	a, err := events.DecodeAssignment(entry.Value)
	switch {
	case err != nil:
		return accepted{}, err
	case a.Host != host:
		return accepted{}, fmt.Errorf("it is for host %q", a.Host)
	case a.Term.Incarnation == "":
		return accepted{}, errors.New("it names no term")
	case a.Term.Revision < f.Newest[a.Term.Incarnation]:
		return accepted{}, fmt.Errorf("its term %s is older than %d, which was obeyed", a.Term, f.Newest[a.Term.Incarnation])
	case f.Assigned.After(entry.Version):
		return accepted{}, errOvertaken
	case f.Assigned == entry.Version && f.Token != a.Term, !a.Former.Zero() && f.Assigned.After(a.Former) && entry.Version.After(f.Assigned):
		return accepted{}, fmt.Errorf("what was obeyed as %s is no part of its past: the bus went back", f.Assigned)
	}
	next := fence{Token: a.Term, Assigned: entry.Version, Newest: maps.Clone(f.Newest), Owners: maps.Clone(f.Owners), path: f.path}
	next.Newest[a.Term.Incarnation] = a.Term.Revision
	forget(next.Newest, maxIncarnations, func(k string) bool { return k != a.Term.Incarnation })
	named := map[string]bool{}
	for _, spec := range a.Instances {
		named[spec.Name] = true
		next.Owners[spec.Name] = a.Term.Incarnation
	}
	if entry.Version.Foreign(f.Assigned) {
		// A bucket that begins a new life has the values of an older copy, of terms
		// of the life before, until the next leader has written them anew. What
		// such a value does not name may have been assigned after the copy.
		for name, owner := range next.Owners {
			if !named[name] && owner == a.Term.Incarnation {
				next.Owners[name] = f.Assigned.String() // which no term has
			}
		}
	}
	forget(next.Owners, maxOwners, func(k string) bool { return !named[k] })
	return accepted{assignment: a, fence: next}, nil
}

// forget shrinks m to size, if it can.
func forget[V any](m map[string]V, size int, may func(string) bool) {
	for k := range m {
		if len(m) <= size {
			return
		}
		if may(k) {
			delete(m, k)
		}
	}
}

// follow hands accepted assignments to the loop until ctx ends.
func (a *Agent) follow(ctx, work context.Context, f fence) {
	var read atomic.Pointer[events.Version] // the newest, applied or not: once is enough
	read.Store(&events.Version{})
	follower := follow.Follower{
		Values: a.assignments, Bus: a.bus, Filter: a.cfg.Host, Log: a.log,
		Apply: func(entry events.Entry) {
			read.Store(&entry.Version)
			f = a.accept(ctx, work, f, entry)
		},
		Behind: func(b events.ControllerHeartbeat) (behind bool) {
			ours := map[string]events.Version{a.cfg.Host: b.Assigned[a.cfg.Host]}
			return follow.IsNewer(ours, func(string) events.Version { return *read.Load() })
		},
	}
	follower.Run(ctx)
}

// accept returns the fence after entry. What is applied is on disk before.
func (a *Agent) accept(ctx, work context.Context, f fence, entry events.Entry) fence {
	if entry.Deleted() {
		a.log.Info("assignment is gone; everything runs on")
		return f
	}
	passed, err := f.check(a.cfg.Host, entry)
	if errors.Is(err, errOvertaken) {
		a.log.Info("assignment is overtaken", "version", entry.Version.String())
		return f
	}
	if err != nil {
		a.log.Error("assignment refused", "version", entry.Version.String(), events.KeyError, err)
		a.post(work, func(h *host) { h.refuse(fmt.Sprintf("assignment %s refused: %v", entry.Version, err)) })
		return f
	}
	for warned := false; ; pause(ctx, a.cfg.RetryAfter) {
		err := passed.fence.save()
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return f
		}
		if !warned {
			a.log.Error("assignment waits", "version", entry.Version.String(), events.KeyError, err)
			warned = true
		}
		a.post(work, func(h *host) { h.refuse(fmt.Sprintf("assignment %s waits: %v", entry.Version, err)) })
	}
	a.post(work, func(h *host) { h.apply(passed) })
	return passed.fence
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
