package replica

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"ringway/events"
)

// statusTimeout is for the status of another server.
const statusTimeout = 2 * time.Second

// checkLogAgainstPeers returns an error if a new replica should not begin with
// the log, because another server has a replica that is further or of another
// history: a replica that is made from nothing but the log always agrees with it,
// and would make a log that lost its end look right. With a ready replica in the
// route there is nothing to check; a server that does not answer is passed over.
func checkLogAgainstPeers(ctx context.Context, client *http.Client, t *Target, log Log) error {
	if len(t.donors) > 0 {
		return nil
	}
	for _, other := range t.others {
		status, err := statusOf(ctx, client, other)
		if err != nil {
			continue
		}
		r, ok := status.Replica(t.Spec.Table, t.Spec.Shard.ID)
		if !ok || r.Applied.Seq == 0 {
			continue
		}
		s, err := log.State(ctx) // after the position of the other
		if err != nil {
			return err
		}
		if r.State == events.ReplicaQuarantined || r.Applied.Incarnation != t.Log.Incarnation || r.Applied.Seq > s.Last {
			return fmt.Errorf("the log ends at %d, and the replica on %s is %s at %s: a person has to decide", s.Last, other.server, r.State, r.Applied)
		}
	}
	return nil
}

func statusOf(ctx context.Context, client *http.Client, other peer) (events.ShardHeartbeat, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+other.address+"/v1/status", nil)
	if err != nil {
		return events.ShardHeartbeat{}, err
	}
	response, err := client.Do(request)
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
