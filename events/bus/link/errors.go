package link

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ringway/events"
)

// Passing reports whether err may go away by itself: no connection, no leader,
// an election.
func Passing(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.ErrorCode == codeNoLeader || api.ErrorCode == codeNotEnabled || api.ErrorCode == codeNoPeers
	}
	return isAny(err,
		ErrAway, errLost, context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected,
		nats.ErrReconnectBufExceeded, nats.ErrConnectionReconnecting,
		jetstream.ErrJetStreamNotEnabled, jetstream.ErrNoStreamResponse, jetstream.ErrStreamNotFound)
}

func isAny(err error, of ...error) bool {
	return slices.ContainsFunc(of, func(e error) bool { return errors.Is(err, e) })
}

// Error codes of the JetStream API.
const (
	codeNoPeers           jetstream.ErrorCode = 10005 // no suitable peers for placement
	codeNoLeader          jetstream.ErrorCode = 10008 // the cluster has no leader now
	codeNotClustered      jetstream.ErrorCode = 10074 // more than one copy, on a server that is alone
	codeNotEnabled        jetstream.ErrorCode = 10076 // JetStream is not enabled (yet)
	codeWrongLast         jetstream.ErrorCode = 10071 // compare-and-set lost
	codeWrongLastReplicas jetstream.ErrorCode = 10164 // the same on replicated streams
	CodeStoreFailed       jetstream.ErrorCode = 10077 // the disk failed; what it kept is unknown
)

// Explained prefers the reason why ctx ended to "context canceled".
func Explained(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, ctx.Err()) && !errors.Is(err, cause) {
		return cause
	}
	return err
}

// PassingTail adds to Passing what only happens to consumers.
func PassingTail(err error) bool {
	return Passing(err) || isAny(err,
		ErrGap, jetstream.ErrNoHeartbeat, jetstream.ErrConsumerDeleted, jetstream.ErrConsumerNotFound, jetstream.ErrMsgIteratorClosed,
		jetstream.ErrConsumerLeadershipChanged, jetstream.ErrServerShutdown, jetstream.ErrConnectionClosed)
}

// IsConflict reports whether a compare-and-set was lost.
func IsConflict(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == codeWrongLast || api.ErrorCode == codeWrongLastReplicas)
}

// Outcome is what is known after a failed append: lost, not done (refused, if it
// would be again), unknown.
func Outcome(err error) error {
	if IsConflict(err) {
		return fmt.Errorf("%w: %w", events.ErrConflict, err)
	}
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode != CodeStoreFailed {
		if Passing(err) {
			return err
		}
		return fmt.Errorf("%w: %w", events.ErrRefused, err)
	}
	if errors.Is(err, nats.ErrMaxPayload) {
		return fmt.Errorf("%w: %w", events.ErrRefused, err)
	}
	if isAny(err, nats.ErrReconnectBufExceeded, nats.ErrBadSubject, nats.ErrNoResponders, jetstream.ErrNoStreamResponse) {
		return err // not sent
	}
	return fmt.Errorf("%w: %w", events.ErrUnknownOutcome, err)
}
