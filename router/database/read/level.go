package read

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/valyala/fasthttp"

	"ringway/router/database/api"
	"ringway/router/database/catalog"
)

// level is what a client may rely on when it reads.
type level int

const (
	// session, the default: a read sees every write that this router
	// acknowledged, whatever was in the log when the router first saw it, and
	// nothing older than what this router showed before.
	session level = iota
	// eventual: some earlier state, the newest that is at hand.
	eventual
	// linearizable: every write that any router acknowledged before the read began.
	linearizable
)

// consistencyHeader is how a client asks for a level.
const consistencyHeader = "Ringway-Consistency"

func levelOf(ctx *fasthttp.RequestCtx) (level, error) {
	switch s := ctx.Request.Header.Peek(consistencyHeader); string(s) {
	case "", "session":
		return session, nil
	case "eventual":
		return eventual, nil
	case "linearizable":
		return linearizable, nil
	default:
		return 0, api.BadRequest("%s: %.40q is unknown; use session, eventual or linearizable", consistencyHeader, s)
	}
}

// minSeqs are the seqs that a read has to see, by shard.
func (r *Reader) minSeqs(ctx context.Context, l level, shards []*catalog.Shard) ([]uint64, error) {
	minSeqs := make([]uint64, len(shards))
	if l.known(shards, minSeqs) {
		return minSeqs, nil
	}
	// Slow path
	if l == session { // one after the other: they have one deadline
		for i, s := range shards {
			if err := s.MinSeq.Await(ctx); err != nil {
				return nil, fmt.Errorf("shard %s: neither the bus nor all replicas say what was acknowledged before this router started: %w; %s: eventual reads what is at hand", s.ID, err, consistencyHeader)
			}
			minSeqs[i] = s.MinSeq.Seq()
		}
		return minSeqs, nil
	}
	errs := make([]error, len(shards))
	var all sync.WaitGroup
	for i, s := range shards {
		all.Go(func() { minSeqs[i], errs[i] = r.barriers.Barrier(ctx, s) })
	}
	all.Wait()
	return minSeqs, errors.Join(errs...)
}

// known fills in minimum seqs that are known already; false if one is not.
func (l level) known(shards []*catalog.Shard, minSeqs []uint64) bool {
	if l == eventual {
		return true
	}
	for i, s := range shards {
		if l == linearizable || !s.MinSeq.Complete() {
			return false
		}
		minSeqs[i] = s.MinSeq.Seq()
	}
	return true
}
