package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ringway/cli/console"
	"ringway/cli/listen"
	"ringway/events"
)

const (
	// dialPatience bounds the way to the bus, which is there or is not.
	dialTimeout = 3 * time.Second
	// silentFor is how long a person waits without a word.
	progressAfter = 2 * time.Second
	// leaderPatience lets a new leader take over: a lease of 4 s, and some.
	leaderTimeout = 10 * time.Second
)

// clusterFlags are those of all commands that talk to a cluster.
type clusterFlags struct {
	nats    string
	timeout time.Duration
}

func (f *clusterFlags) add(cmd *cobra.Command, timeout time.Duration) {
	cmd.Flags().StringVar(&f.nats, "nats", listen.DefaultNATS, "the bus of the cluster, host:port or URL")
	cmd.Flags().DurationVar(&f.timeout, "timeout", timeout, "longest wait for an answer")
}

// with dials the cluster and calls f, with a context that ctrl-C ends.
func (a *app) withCluster(cmd *cobra.Command, f *clusterFlags, do func(ctx context.Context, c Cluster) error) error {
	url, err := listen.NATSURL(f.nats)
	if err != nil {
		return err
	}
	if f.timeout <= 0 {
		return console.Usage("--timeout %s: use a positive duration like 10s", f.timeout)
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := a.dial(ctx, url)
	if err != nil {
		return err
	}
	defer c.Close()
	return do(ctx, c)
}

func (a *app) dial(ctx context.Context, url string) (Cluster, error) {
	dialing, done := context.WithTimeout(ctx, dialTimeout)
	defer done()
	c, err := a.w.Dial(dialing, url)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Canceled
		}
		return nil, console.Exit(console.ExitNobody, fmt.Errorf("nobody answers at %s (%w); start a cluster with 'ringway up', or name the bus of another with --nats", url, err))
	}
	return c, nil
}

// ask asks the leader, and again while there is none: the same request, so
// that one which was carried out already is not carried out twice.
func (a *app) request(ctx context.Context, c Cluster, timeout time.Duration, verb, doing string, req, reply any) error {
	began := time.Now() // before the timeout begins, so that no less is reported
	requestCtx, done := context.WithTimeout(ctx, timeout)
	defer done()
	stopProgress := a.showProgress(requestCtx, began, doing)
	defer stopProgress()
	sent := false // perhaps carried out by a leader that we did not hear
	for {
		err := c.Request(requestCtx, verb, req, reply)
		retry := errors.Is(err, events.ErrNoLeader) || errors.Is(err, events.ErrUnknownOutcome)
		if err == nil || !retry && requestCtx.Err() == nil {
			return err
		}
		sent = sent || !errors.Is(err, events.ErrNoLeader)
		noLeader := errors.Is(err, events.ErrNoLeader) && time.Since(began) > leaderTimeout
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

// after shows what is going on once it has taken longer than silentFor.
func (a *app) showProgress(ctx context.Context, began time.Time, doing string) (stop func()) {
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
			if a.con.Width() > 0 { // elsewhere each change would be a line
				line = fmt.Sprintf("%s… %s", doing, time.Since(began).Round(time.Second))
			}
			a.con.Progress(line)
			wait.Reset(time.Second)
		}
	}()
	return func() { end(); <-done; a.con.Clear() }
}

func (a *app) status(ctx context.Context, c Cluster, timeout time.Duration) (events.Status, error) {
	var st events.Status
	err := a.request(ctx, c, timeout, events.APIStatus, "waiting for a controller", struct{}{}, &st)
	return st, err
}
