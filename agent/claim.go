package agent

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"ringway/events"
	"ringway/internal/statedir"
)

// hosts are the claims of agents to the names of hosts, by name. What decides is that
// a value replaces the version that was looked at; errors are those of events.
type hosts interface {
	Get(ctx context.Context, name string) (events.Entry, error)
	Create(ctx context.Context, name string, value []byte) (events.Version, error)
	Update(ctx context.Context, name string, value []byte, last events.Version) (events.Version, error)
	// Watch is as that of assignments.
	Watch(ctx context.Context, name string, fn func(events.Entry)) error
}

// ErrTaken: another agent that lives has the name of this host.
var ErrTaken = errors.New("the name is taken")

// Claim is the value of a host in events.BucketHosts: whose the name is. It stays when
// the agent has ended, and is another's only after nobody was heard under the name for
// some time.
type Claim struct {
	Host        string    `json:"host"`
	ID          string    `json:"id"`          // of the agent's data directory
	Incarnation string    `json:"incarnation"` // of the agent process, as in its heartbeats
	Machine     string    `json:"machine"`     // where that is, for people
	PID         int       `json:"pid"`
	Data        string    `json:"data"`  // directory
	Since       time.Time `json:"since"` // when the name became that ID's
}

// DecodeClaim reads a value of events.BucketHosts.
func DecodeClaim(b []byte) (Claim, error) {
	var c Claim
	if err := json.Unmarshal(b, &c); err != nil {
		return Claim{}, fmt.Errorf("decode the claim of a host: %w", err)
	}
	if err := events.ValidName(c.Host); err != nil {
		return Claim{}, fmt.Errorf("decode the claim of a host: %w", err)
	}
	if c.ID == "" || c.Incarnation == "" {
		return Claim{}, fmt.Errorf("decode the claim of host %q: id or incarnation is missing", c.Host)
	}
	return c, nil
}

// String tells where that agent is.
func (c Claim) String() string {
	return fmt.Sprintf("the agent on machine %s (pid %d, data in %s)", c.Machine, c.PID, c.Data)
}

// identity is that of a data directory. Agents that use it one after the other are
// the same for their cluster.
// An id that comes with an error is good for this time.
func identity(dir string) (string, error) {
	path := filepath.Join(dir, "identity")
	b, err := os.ReadFile(path)
	if err == nil && len(b) > 0 {
		return string(b), nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return rand.Text(), err
	}
	id := rand.Text()
	return id, statedir.WriteFile(path, []byte(id))
}

// newClaim is that of this process; since when is not known yet.
func (a *Agent) newClaim() (Claim, error) {
	id, err := identity(a.cfg.Dir)
	if err != nil { // a full disk keeps no host from being adopted
		a.log.Warn("the identity of this agent is not kept; its successor may have to wait for the name of this host", events.KeyError, err)
	}
	machine, _ := os.Hostname() // for people
	data, err := filepath.Abs(a.cfg.Dir)
	if err != nil {
		return Claim{}, err
	}
	return Claim{
		Host: a.cfg.Host, ID: id, Incarnation: a.incarnation, Machine: machine, PID: os.Getpid(), Data: data,
	}, nil
}

// claim makes the name ours, whenever the bus lets it, or returns ErrTaken. Before that
// nothing is started and no heartbeat sent; what runs goes on.
func (a *Agent) claim(ctx context.Context, mine *Claim) error {
	for warned := false; ; pause(ctx, a.cfg.RetryAfter) {
		err := a.tryClaim(ctx, mine)
		if err == nil || errors.Is(err, ErrTaken) || ctx.Err() != nil {
			return err
		}
		if !warned {
			a.log.Warn("the name of this host is not claimed yet", events.KeyError, err)
			warned = true
		}
	}
}

func (a *Agent) tryClaim(ctx context.Context, mine *Claim) error {
	entry, err := a.hosts.Get(ctx, a.cfg.Host)
	if errors.Is(err, events.ErrNotFound) || err == nil && entry.Deleted() {
		return a.createClaim(ctx, mine)
	}
	if err != nil {
		return err
	}
	other, err := DecodeClaim(entry.Value)
	if err != nil {
		a.log.Error("what says whose the name of this host is cannot be read; it is written anew", events.KeyError, err)
		return a.replaceClaim(ctx, mine, entry, time.Now())
	}
	if other.ID == mine.ID && other.Machine == mine.Machine && other.Data == mine.Data {
		// Who had it has ended, for we have the lock of the directory.
		return a.replaceClaim(ctx, mine, entry, other.Since)
	}
	// A copy of the directory, or the same one in another container; or a stranger.
	wait, since := a.cfg.Silence, time.Now()
	if other.ID == mine.ID {
		wait, since = 3*events.HeartbeatInterval, other.Since
	}
	if other.ID != mine.ID {
		a.log.Warn("another agent had the name of this host; waiting whether it is heard", "other", other.String(), "wait", wait)
	}
	heard, err := a.heard(ctx, wait)
	if err != nil {
		return err
	}
	if heard {
		return fmt.Errorf("%w: %s has it and is alive; give one of the two another --host", ErrTaken, other)
	}
	return a.replaceClaim(ctx, mine, entry, since)
}

func (a *Agent) createClaim(ctx context.Context, mine *Claim) error {
	next := *mine
	if next.Since.IsZero() {
		next.Since = time.Now().UTC()
	}
	b, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if _, err = a.hosts.Create(ctx, a.cfg.Host, b); err == nil {
		*mine = next
	}
	return err
}

func (a *Agent) replaceClaim(ctx context.Context, mine *Claim, entry events.Entry, since time.Time) error {
	next := *mine
	next.Since = since.UTC()
	b, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if _, err = a.hosts.Update(ctx, a.cfg.Host, b, entry.Version); err == nil {
		*mine = next
	}
	return err
}

// heard reports whether another agent is heard under our name, within wait.
func (a *Agent) heard(ctx context.Context, wait time.Duration) (bool, error) {
	others := make(chan struct{}, 1)
	stop, err := a.bus.Listen(events.AgentSubject(a.cfg.Host), func(_ string, data []byte) {
		heartbeat, err := events.DecodeHostHeartbeat(data)
		if err != nil || heartbeat.Incarnation == a.incarnation {
			return
		}
		select {
		case others <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return false, err
	}
	defer stop()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-others:
		return true, nil
	case <-timer.C:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// keepClaim sees to it that the name stays ours until ctx ends. A bus that was wiped,
// or put back from an older copy, knows nothing of us or names somebody before us. Of two that live the
// one stays that had the name first.
func (a *Agent) keepClaim(ctx context.Context, mine Claim) error {
	watching, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for warned := false; ; pause(watching, a.cfg.RetryAfter) {
		err := a.hosts.Watch(watching, a.cfg.Host, func(entry events.Entry) {
			if err := a.checkClaim(watching, &mine, entry); errors.Is(err, ErrTaken) {
				cancel(err)
			}
		})
		if watching.Err() != nil {
			return context.Cause(watching)
		}
		if !warned {
			a.log.Warn("cannot watch whose the name of this host is", events.KeyError, err)
			warned = true
		}
	}
}

func (a *Agent) checkClaim(ctx context.Context, mine *Claim, entry events.Entry) error {
	var other Claim
	if !entry.Deleted() {
		var err error
		if other, err = DecodeClaim(entry.Value); err == nil && other.Incarnation == a.incarnation {
			return nil
		}
	}
	a.log.Warn("the bus does not say that the name of this host is ours", "says", other.String())
	if other.ID != "" {
		heard, err := a.heard(ctx, a.cfg.Silence)
		if err != nil {
			return err
		}
		if heard && other.Since.Before(mine.Since) {
			return fmt.Errorf("%w: %s has it and is alive; give one of the two another --host", ErrTaken, other)
		}
	}
	var err error
	for warned := false; ctx.Err() == nil; pause(ctx, a.cfg.RetryAfter) {
		if entry.Deleted() {
			err = a.createClaim(ctx, mine)
		} else {
			err = a.replaceClaim(ctx, mine, entry, mine.Since)
		}
		if err == nil || errors.Is(err, events.ErrConflict) {
			return nil // the watch shows what is there now
		}
		if !warned {
			a.log.Warn("cannot claim the name of this host again", events.KeyError, err)
			warned = true
		}
	}
	return ctx.Err()
}
