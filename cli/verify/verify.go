// Package verify compares the replicas of each shard by markers in their logs.
package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"ringway/cli/client"
	"ringway/cli/console"
	"ringway/events"
	"ringway/events/shardlog"
)

const (
	// verifyTimeout covers reading every row of a shard.
	verifyTimeout = time.Minute
	// maxConcurrent bounds how many shards are read through at a time: each costs every
	// replica a scan, and a shard server does no more.
	maxConcurrent = 2
	// verifyBusy is the first pause before a server that has others to digest is
	// asked again; the next ones are longer, up to maxVerifyBusy.
	verifyBusy, maxVerifyBusy = 500 * time.Millisecond, 4 * time.Second
)

// command is one invocation.
type command struct{ *client.Client }

// Command is `ringway verify`.
func Command(c *client.Client) *cobra.Command {
	a := &command{c}
	var f client.Flags
	cmd := &cobra.Command{
		Use:   "verify [TABLE]",
		Short: "Prove that all replicas of each shard are equal",
		Long: `Prove that all replicas of each shard are equal, while writes go on: a marker in
the log of a shard makes each replica say the digest of its state at that very
position. No controller is needed.

Exit code 1 if replicas differ, or if one of them does not answer in time.`,
		Example: `  ringway verify
  ringway verify StudT -o json | jq '.[] | select(.equal | not)'`,
		Args: cobra.MaximumNArgs(1),
	}
	f.Add(cmd, verifyTimeout)
	cmd.Flag("timeout").Usage = "longest wait for the replicas of a shard"
	output := console.OutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		table := ""
		if len(args) == 1 {
			table = args[0]
			if err := events.ValidIdentifier(table); err != nil {
				return console.Usage("table %w", err)
			}
		}
		return a.With(cmd, &f, func(ctx context.Context, c client.Cluster) error {
			v := &verifier{c: c, table: table, timeout: f.Timeout}
			found, err := a.verify(ctx, v)
			if err != nil {
				return err
			}
			if *output == console.AsJSON {
				err = console.WriteJSON(a.Out, found)
			} else {
				a.printVerdicts(found)
			}
			if err == nil && slices.ContainsFunc(found, func(v Verdict) bool { return !v.Equal }) {
				return console.Exit(console.ExitFailed, nil)
			}
			return err
		})
	}
	return cmd
}

// verify asks all shards, and shows how far it is.
func (a *command) verify(ctx context.Context, v *verifier) ([]Verdict, error) {
	routes, err := v.routes(ctx)
	if err != nil {
		return nil, err
	}
	var shards []events.ShardSpec
	for _, r := range routes {
		for _, s := range r.Table.Shards {
			shards = append(shards, events.ShardSpec{Table: r.Table.Name, Shard: s})
		}
	}
	stop := a.ShowProgress(ctx, time.Now(), "waiting for the digests of the replicas")
	defer stop()
	found := make([]Verdict, len(shards))
	var all errgroup.Group
	all.SetLimit(maxConcurrent)
	for i, s := range shards {
		all.Go(func() error {
			found[i] = v.shard(ctx, s.Table, s.Shard.ID)
			return nil
		})
	}
	_ = all.Wait() // faults are in the verdicts
	if ctx.Err() != nil {
		return nil, context.Canceled
	}
	return found, nil
}

// verifier compares the replicas of shards.
type verifier struct {
	c       client.Cluster
	table   string // empty: all
	timeout time.Duration
}

// routes are those of the tables, as they are now.
func (v *verifier) routes(ctx context.Context) ([]events.TableRoute, error) {
	reading, done := context.WithTimeout(ctx, client.LeaderTimeout)
	defer done()
	entries, err := v.c.Routes(reading)
	if err != nil {
		return nil, fmt.Errorf("read the routes: %w", err)
	}
	var routes []events.TableRoute
	some := false
	for _, e := range entries {
		if e.Deleted() || !strings.HasPrefix(e.Key, events.TableKey("")) {
			continue
		}
		some = true
		if v.table != "" && e.Key != events.TableKey(v.table) {
			continue
		}
		r, err := events.DecodeTableRoute(e.Value)
		if err != nil {
			return nil, err
		}
		routes = append(routes, r)
	}
	if len(routes) == 0 {
		if some {
			return nil, fmt.Errorf("no route for table %q; the tables are in 'ringway shards'", v.table)
		}
		return nil, client.ErrNoDatabase
	}
	return routes, nil
}

// shard puts a marker into the log and waits for the digests of the replicas.
// A replica that was replaced meanwhile, or a digest that was lost on its way,
// does not spoil it: half of the time is for a second marker. Nor does a
// server that has others to digest just then: it is asked again soon.
func (v *verifier) shard(ctx context.Context, table, shard string) Verdict {
	received := make(chan shardlog.Digest, 256)
	stop, err := v.c.Listen(events.DigestSubject(table, shard), func(_ string, data []byte) {
		d, err := shardlog.DecodeDigest(data)
		if err != nil || d.Table != table || d.Shard != shard {
			return
		}
		select {
		case received <- d:
		default: // nobody sends that much
		}
	})
	if err != nil {
		return Verdict{Table: table, Shard: shard, Error: err.Error()}
	}
	defer stop()
	ctx, done := context.WithTimeout(ctx, v.timeout)
	defer done()
	first := v.mark(ctx, table, shard)
	if first.err != nil && ctx.Err() == nil {
		return first.verdict(table, shard) // it will not pass by itself
	}
	attempts := []*attempt{first}
	again, busy := time.NewTimer(v.timeout/2), verifyBusy
	defer again.Stop()
	for {
		for _, t := range attempts {
			if t.complete() {
				return t.verdict(table, shard)
			}
		}
		select {
		case d := <-received:
			for _, t := range attempts {
				t.add(d)
			}
			if last := attempts[len(attempts)-1]; d.Batch == last.batch && last.answered() && !last.complete() {
				again.Reset(busy)
				busy = min(2*busy, maxVerifyBusy)
			}
		case <-again.C:
			attempts = append(attempts, v.mark(ctx, table, shard))
			again.Reset(v.timeout / 2)
		case <-ctx.Done():
			return best(attempts).verdict(table, shard)
		}
	}
}

// attempt is one marker and the digests that came for it.
type attempt struct {
	err      error // the marker could not be written
	batch    string
	seq      uint64
	expected []string // servers, in the order of the route
	reports  map[string]shardlog.Digest
}

// mark writes a marker for the replicas that the route names now.
func (v *verifier) mark(ctx context.Context, table, shard string) *attempt {
	t := &attempt{reports: map[string]shardlog.Digest{}}
	routes, err := v.routes(ctx)
	if err != nil {
		t.err = err
		return t
	}
	for _, r := range routes {
		s, ok := r.Shard(shard)
		if r.Table.Name != table || !ok {
			continue
		}
		for _, replica := range s.Replicas {
			t.expected = append(t.expected, replica.Server)
		}
		if t.batch, t.seq, t.err = v.c.Mark(ctx, r.LogID(s)); t.err != nil {
			return t
		}
		return t
	}
	t.err = errors.New("the shard is gone")
	return t
}

func (t *attempt) add(d shardlog.Digest) {
	if d.Batch == t.batch && slices.Contains(t.expected, d.Server) {
		t.reports[d.Server] = d
	}
}

// answered reports whether all have sent something.
func (t *attempt) answered() bool {
	return t.err == nil && len(t.expected) > 0 && len(t.reports) == len(t.expected)
}

// complete reports whether no better answer is to come.
func (t *attempt) complete() bool {
	return t.answered() && !slices.ContainsFunc(t.expected, func(server string) bool { return t.reports[server].Error == shardlog.DigestBusy })
}

// digests is how many have.
func (t *attempt) digests() (n int) {
	for _, d := range t.reports {
		if d.Error == "" {
			n++
		}
	}
	return n
}

// best is the attempt with most digests.
func best(attempts []*attempt) *attempt {
	return slices.MaxFunc(attempts, func(a, b *attempt) int {
		return cmp.Or(cmp.Compare(a.digests(), b.digests()), cmp.Compare(len(a.reports), len(b.reports)))
	})
}
