package recovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"ringway/cli/client"
	"ringway/cli/console"
	"ringway/events"
	"ringway/events/shardlog"
)

// collectFor is how long shard servers may take to report what they have: a
// little longer than the leader waits before it calls one silent.
const collectFor = 4 * events.HeartbeatInterval

// recovery is what a new log for a shard would mean, as far as can be known
// before it is ordered.
type recovery struct {
	shard   events.ShardStatus
	reports map[string]events.ReplicaStatus // by server, since the log was looked at
	log     *shardlog.LogState              // nil: none of the incarnation that is wanted
	foreign bool                            // but there is another
	end     uint64                          // of the log, before the servers reported

	from       string          // server of the most advanced replica; empty: none reported
	at         events.Position // of that replica
	diverged   bool            // the log has another history than that replica
	why        error           // why they could not be compared
	lastStored time.Time       // when the last batch of such a log was stored; zero: not known
}

// Plan asks the bus and the shard servers themselves. What the leader knows
// may be a heartbeat old, and what was stored since would count as lost.
func Plan(ctx context.Context, c client.Cluster, s events.ShardStatus) (fmt.Stringer, error) {
	requestCtx, done := context.WithTimeout(ctx, client.LeaderTimeout)
	defer done()
	r := &recovery{shard: s}
	if err := r.observe(requestCtx, c); err != nil {
		return nil, err
	}
	if r.log != nil {
		r.end = r.log.Last
	}
	if err := r.collect(requestCtx, c); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Canceled
	}
	return r, r.compare(requestCtx, c)
}

func (r *recovery) id() events.LogID {
	return events.LogID{Table: r.shard.Table, Shard: r.shard.Shard, Incarnation: r.shard.Incarnation}
}

func (r *recovery) observe(ctx context.Context, c client.Cluster) error {
	log, err := c.LogState(ctx, r.id())
	r.log, r.foreign = nil, errors.Is(err, events.ErrLogForeign)
	switch {
	case err == nil:
		r.log = &log
	case r.foreign, errors.Is(err, events.ErrLogMissing):
	default:
		return fmt.Errorf("look at the log of %s.%s: %w", r.shard.Table, r.shard.Shard, err)
	}
	return nil
}

// collect takes the reports of each server from now on, until all have reported
// and one has the whole log, or the time is up.
func (r *recovery) collect(ctx context.Context, c client.Cluster) error {
	var mu sync.Mutex
	reports := map[string]events.ReplicaStatus{}
	news := make(chan struct{}, 1)
	for _, replica := range r.shard.Replicas {
		stop, err := c.Listen(events.ShardSubject(replica.Server), func(_ string, data []byte) {
			b, err := events.DecodeShardHeartbeat(data)
			if err != nil || b.Server != replica.Server {
				return
			}
			mu.Lock()
			reports[b.Server], _ = b.Replica(r.shard.Table, r.shard.Shard)
			mu.Unlock()
			select {
			case news <- struct{}{}:
			default: // it is looked at anyway
			}
		})
		if err != nil {
			return fmt.Errorf("listen to the replicas of %s.%s: %w", r.shard.Table, r.shard.Shard, err)
		}
		defer stop()
	}
	late := time.NewTimer(collectFor)
	defer late.Stop()
	for {
		mu.Lock()
		r.reports = maps.Clone(reports)
		mu.Unlock()
		r.choose()
		if len(r.reports) == len(r.shard.Replicas) && (r.log == nil || r.from != "" && r.at.Seq >= r.end) {
			return nil
		}
		select {
		case <-news:
		case <-late.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// choose finds the replica that the leader would continue.
func (r *recovery) choose() {
	r.from, r.at = "", events.Position{}
	follows := func(p events.Position) int {
		if p.Incarnation == r.shard.Incarnation {
			return 1
		}
		return 0
	}
	states := []string{events.ReplicaReady, events.ReplicaCatchingUp, events.ReplicaQuarantined, events.ReplicaHalted}
	for _, replica := range r.shard.Replicas {
		reports := r.reports[replica.Server]
		if !slices.Contains(states, reports.State) || reports.Applied.Incarnation == "" {
			continue
		}
		if r.from == "" || cmp.Or(cmp.Compare(follows(reports.Applied), follows(r.at)), cmp.Compare(reports.Applied.Seq, r.at.Seq)) > 0 {
			r.from, r.at = replica.Server, reports.Applied
		}
	}
}

// compare finds out whether the log and the most advanced replica have one
// history.
func (r *recovery) compare(ctx context.Context, c client.Cluster) error {
	if r.log == nil || r.from == "" {
		return nil
	}
	if r.at.Seq > r.end { // it may have grown meanwhile
		if err := r.observe(ctx, c); err != nil || r.log == nil {
			return err
		}
	}
	switch {
	case r.at.Incarnation != r.shard.Incarnation, r.at.Seq > r.log.Last:
		r.diverged = true
	case r.at.Seq >= r.log.First: // what is purged they have in common
		batch, _, err := c.LogBatch(ctx, r.id(), r.at.Seq)
		r.diverged = err == nil && batch != r.at.Batch
		if err != nil && !errors.Is(err, events.ErrNotFound) {
			r.why = err // a log that is damaged is what a recovery is for
		}
	}
	if r.diverged {
		_, r.lastStored, _ = c.LogBatch(ctx, r.id(), r.log.Last) // only for the reader
	}
	return nil
}

// String is in the conditional: the order may be refused.
func (r *recovery) String() string {
	var b strings.Builder
	name := console.Printable(r.shard.Table + "." + r.shard.Shard)
	if r.from == "" {
		fmt.Fprintf(&b, "No replica of shard %s is heard that a new log could continue:\n", name)
	} else {
		fmt.Fprintf(&b, "A new log for shard %s would continue %s, its most advanced replica:\n", name, console.Printable(r.from))
	}
	served, givenUp := false, false
	for _, replica := range r.shard.Replicas {
		reports, received := r.reports[replica.Server]
		fmt.Fprintf(&b, "  %s on %s: ", console.Printable(replica.Server), cmp.Or(console.Printable(replica.Host), "-"))
		if !received {
			fmt.Fprintf(&b, "silent, had applied %d\n", replica.AppliedSeq)
			givenUp = true
			continue
		}
		state := cmp.Or(reports.State, events.Pending)
		fmt.Fprintf(&b, "%s, has applied %d", state, reports.Applied.Seq)
		if reports.Applied.Incarnation != "" && reports.Applied.Incarnation != r.shard.Incarnation {
			b.WriteString(" of another log")
		}
		b.WriteString("\n")
		served = served || reports.State == events.ReplicaReady
		followed := reports.State == events.ReplicaReady || reports.State == events.ReplicaCatchingUp
		givenUp = givenUp || reports.Applied.Incarnation != "" && reports.Applied != r.at && !followed
	}
	b.WriteString(r.logConsequence())
	if r.why != nil {
		fmt.Fprintf(&b, " It could not be compared with %s (%s): it may have another history.", console.Printable(r.from), console.Printable(r.why.Error()))
	}
	if served {
		b.WriteString(" A replica is ready: what is written until then may be lost as well.")
	}
	if givenUp {
		b.WriteString(" What only other replicas have would be given up.")
	}
	return b.String()
}

// logConsequence names what of the log would be lost.
func (r *recovery) logConsequence() string {
	switch {
	case r.foreign:
		return "The log that is there is not the one they followed; it would be deleted with all that it has."
	case r.log == nil:
		return "The log that they followed is gone."
	case r.from == "":
		return fmt.Sprintf("Its log ends at %d.", r.log.Last)
	case r.diverged:
		return fmt.Sprintf("The old log has another history than %s: it ends at %d%s. It would be deleted, and with it what was written to it since they parted.",
			console.Printable(r.from), r.log.Last, r.stored())
	case r.end > r.at.Seq:
		return fmt.Sprintf("The old log would be deleted, and with it %s, which no replica that is heard has.", span(max(r.at.Seq+1, r.log.First), r.end))
	}
	return fmt.Sprintf("The old log would be deleted; %s has all of it.", console.Printable(r.from))
}

func (r *recovery) stored() string {
	if r.lastStored.IsZero() {
		return ""
	}
	return ", with what was stored at " + r.lastStored.UTC().Format(time.RFC3339)
}

func span(first, last uint64) string {
	if last == first {
		return fmt.Sprintf("batch %d", first)
	}
	return fmt.Sprintf("batches %d to %d", first, last)
}
