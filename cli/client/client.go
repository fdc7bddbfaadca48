// Package client reaches a running cluster: commands and `ringway up` ask its
// leader and read its bus with it.
package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ringway/cli/console"
	"ringway/cli/listen"
	"ringway/events"
	"ringway/events/shardlog"
	"ringway/events/streams"
)

const (
	// DialTimeout bounds the way to the bus, which is there or is not.
	DialTimeout = 3 * time.Second
	// progressAfter is how long a person waits before progress is shown.
	progressAfter = 2 * time.Second
	// LeaderTimeout lets a new leader take over: a lease of 4 s, and some.
	LeaderTimeout = 10 * time.Second
)

// Client is how one command reaches a cluster, and where it prints.
type Client struct {
	Dial    func(ctx context.Context, url string) (Cluster, error)
	Out     io.Writer
	In      io.Reader
	Console *console.Console
}

// Cluster is a running one, seen through its bus. Every call returns by the
// end of its context.
type Cluster interface {
	// Bus is the name of the server that was reached.
	Bus() string
	// Request asks the leader. It returns a *events.StatusError, or an error that
	// wraps events.ErrNoLeader (nothing was done) or events.ErrUnknownOutcome.
	Request(ctx context.Context, verb string, req, reply any) error
	// Routes are the current values of events.BucketRoutes.
	Routes(ctx context.Context) ([]events.Entry, error)
	// History calls fn for the events since then, in order; with follow also
	// for those to come, until ctx ends.
	History(ctx context.Context, since time.Time, follow bool, fn func(events.Event) error) error
	// Mark appends a batch of one OpDigest to a log. Every replica publishes an
	// shardlog.Digest with the batch's id when it has applied it.
	Mark(ctx context.Context, log events.LogID) (batch string, seq uint64, err error)
	// LogState is what a log holds; events.ErrLogMissing or ErrLogForeign if it
	// is not there.
	LogState(ctx context.Context, log events.LogID) (shardlog.LogState, error)
	// LogBatch is the id of one batch of a log, empty if it is none, and when it
	// was stored; events.ErrNotFound if the log does not have it.
	LogBatch(ctx context.Context, log events.LogID, seq uint64) (batch string, at time.Time, err error)
	// Listen calls fn for each message on subject, one at a time, until stop
	// has returned.
	Listen(subject string, fn func(subject string, data []byte)) (stop func(), err error)
	// Streams are those of Ringway on the bus, by name.
	Streams(ctx context.Context) ([]streams.Status, error)
	Close()
}

// Flags are those of all commands that talk to a cluster.
type Flags struct {
	nats    string
	Timeout time.Duration // longest wait for an answer
}

// Add adds them to cmd.
func (f *Flags) Add(cmd *cobra.Command, timeout time.Duration) {
	cmd.Flags().StringVar(&f.nats, "nats", listen.DefaultNATS, "the bus of the cluster, host:port or URL")
	cmd.Flags().DurationVar(&f.Timeout, "timeout", timeout, "longest wait for an answer")
}

// With dials the cluster and calls f, with a context that ctrl-C ends.
func (c *Client) With(cmd *cobra.Command, f *Flags, do func(ctx context.Context, c Cluster) error) error {
	url, err := listen.NATSURL(f.nats)
	if err != nil {
		return err
	}
	if f.Timeout <= 0 {
		return console.Usage("--timeout %s: use a positive duration like 10s", f.Timeout)
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cluster, err := c.dial(ctx, url)
	if err != nil {
		return err
	}
	defer cluster.Close()
	return do(ctx, cluster)
}

func (c *Client) dial(ctx context.Context, url string) (Cluster, error) {
	dialing, done := context.WithTimeout(ctx, DialTimeout)
	defer done()
	cluster, err := c.Dial(dialing, url)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Canceled
		}
		return nil, console.Exit(console.ExitNobody, fmt.Errorf("nobody answers at %s (%w); start a cluster with 'ringway up', or name the bus of another with --nats", url, err))
	}
	return cluster, nil
}

// Request asks the leader, and again while there is none: the same request, so
// that one which was carried out already is not carried out twice.
func (c *Client) Request(ctx context.Context, cluster Cluster, timeout time.Duration, verb, doing string, req, reply any) error {
	began := time.Now() // before the timeout begins, so that no less is reported
	requestCtx, done := context.WithTimeout(ctx, timeout)
	defer done()
	stopProgress := c.ShowProgress(requestCtx, began, doing)
	defer stopProgress()
	sent := false // perhaps carried out by a leader whose answer was lost
	for {
		err := cluster.Request(requestCtx, verb, req, reply)
		retry := errors.Is(err, events.ErrNoLeader) || errors.Is(err, events.ErrUnknownOutcome)
		if err == nil || !retry && requestCtx.Err() == nil {
			return err
		}
		sent = sent || !errors.Is(err, events.ErrNoLeader)
		noLeader := errors.Is(err, events.ErrNoLeader) && time.Since(began) > LeaderTimeout
		if requestCtx.Err() == nil && !noLeader {
			select {
			case <-time.After(200 * time.Millisecond):
				continue
			case <-requestCtx.Done():
			}
		}
		waited := time.Since(began)
		if unit := 100 * time.Millisecond; waited > unit {
			waited = waited.Round(unit)
		} else {
			waited = waited.Round(100 * time.Microsecond)
		}
		how := "no answer"
		if ctx.Err() != nil {
			how = "interrupted"
		}
		if sent && verb != events.APIStatus {
			return console.Exit(console.ExitUnknown, fmt.Errorf("%s after %s: it may or may not have happened; see 'ringway ps' and 'ringway events'", how, waited))
		}
		if ctx.Err() != nil {
			return console.Exit(console.ExitInterrupted, fmt.Errorf("interrupted after %s", waited))
		}
		return console.Exit(console.ExitNobody, fmt.Errorf("no controller answered within %s; see 'ringway events' for why, or start one with 'ringway controller'", waited))
	}
}

// ShowProgress shows what is going on once it has taken longer than progressAfter.
func (c *Client) ShowProgress(ctx context.Context, began time.Time, doing string) (stop func()) {
	ctx, end := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		wait := time.NewTimer(progressAfter)
		defer wait.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-wait.C:
			}
			line := doing + "…"
			if c.Console.Width() > 0 { // elsewhere each change would be a line
				line = fmt.Sprintf("%s… %s", doing, time.Since(began).Round(time.Second))
			}
			c.Console.Progress(line)
			wait.Reset(time.Second)
		}
	}()
	return func() { end(); <-done; c.Console.Clear() }
}

// Status is what the leader reports.
func (c *Client) Status(ctx context.Context, cluster Cluster, timeout time.Duration) (events.Status, error) {
	var st events.Status
	err := c.Request(ctx, cluster, timeout, events.APIStatus, "waiting for a controller", struct{}{}, &st)
	return st, err
}

// Listing completes a command that prints what the leader reports. list returns
// that as it is in JSON, and what prints it for people.
func (c *Client) Listing(cmd *cobra.Command, list func(context.Context, Cluster, events.Status) (forJSON any, print func())) *cobra.Command {
	var f Flags
	f.Add(cmd, LeaderTimeout)
	output := console.OutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return c.With(cmd, &f, func(ctx context.Context, cluster Cluster) error {
			st, err := c.Status(ctx, cluster, f.Timeout)
			if err != nil {
				return err
			}
			forJSON, print := list(ctx, cluster, st)
			if *output == console.AsJSON {
				return console.WriteJSON(c.Out, forJSON)
			}
			print()
			return nil
		})
	}
	return cmd
}
