package shard

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"ringway/events"
)

// askTimeout is for the status of another server.
const askTimeout = 2 * time.Second

// checkLogAgainstPeers returns an error if a new replica should not begin with
// the log, because another server has a replica that is further or of another
// history: a replica that is made from nothing but the log always agrees with it,
// and would make a log that lost its end look right. With a ready replica in the
// route there is nothing to check; a server that does not answer is passed over.
func (m *manager) checkLogAgainstPeers(ctx context.Context, t *target, log Log) error {
	if len(t.donors) > 0 {
		return nil
	}
	for _, other := range t.others {
		b, err := m.askStatus(ctx, other)
		if err != nil {
			continue
		}
		r, ok := b.Replica(m.key.table, m.key.shard)
		if !ok || r.Applied.Seq == 0 {
			continue
		}
		s, err := log.State(ctx) // after the position of the other
		if err != nil {
			return err
		}
		if r.State == events.ReplicaQuarantined || r.Applied.Incarnation != t.log.Incarnation || r.Applied.Seq > s.Last {
			return fmt.Errorf("the log ends at %d, and the replica on %s is %s at %s: a person has to decide", s.Last, other.server, r.State, r.Applied)
		}
	}
	return nil
}

func (m *manager) askStatus(ctx context.Context, other donor) (events.ShardHeartbeat, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+other.address+"/v1/status", nil)
	if err != nil {
		return events.ShardHeartbeat{}, err
	}
	response, err := m.s.http.Do(request)
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
