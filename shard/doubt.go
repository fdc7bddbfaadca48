package shard

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"ringway/events"
)

// askStatus bounds the question to another server how it is.
const askStatus = 2 * time.Second

// doubt is why a new replica should not begin with the log: one that is made
// of nothing but a log always agrees with it, and would have a log that lost
// something look right. A ready replica ends all doubt; who does not answer
// raises none.
func (k *keeper) doubt(ctx context.Context, a *aim, log Log) error {
	if len(a.donors) > 0 {
		return nil
	}
	for _, other := range a.others {
		b, err := k.statusOf(ctx, other)
		if err != nil {
			continue
		}
		r, ok := b.Replica(k.key.table, k.key.shard)
		if !ok || r.Applied.Seq == 0 {
			continue
		}
		s, err := log.State(ctx) // after the other has said how far it is
		if err != nil {
			return err
		}
		if r.State == events.ReplicaQuarantined || r.Applied.Incarnation != a.log.Incarnation || r.Applied.Seq > s.Last {
			return fmt.Errorf("the log ends at %d, and the replica on %s is %s at %s: a person has to decide", s.Last, other.server, r.State, r.Applied)
		}
	}
	return nil
}

func (k *keeper) statusOf(ctx context.Context, other donor) (events.ShardHeartbeat, error) {
	ctx, cancel := context.WithTimeout(ctx, askStatus)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+other.address+"/v1/status", nil)
	if err != nil {
		return events.ShardHeartbeat{}, err
	}
	response, err := k.s.http.Do(request)
	if err != nil {
		return events.ShardHeartbeat{}, err
	}
	defer response.Body.Close()
	var b events.ShardHeartbeat
	if err := json.NewDecoder(response.Body).Decode(&b); err != nil {
		return b, err
	}
	return b, nil
}
