// Package tables decides about tables: it creates them, adds and removes shard
// servers, creates, recovers and purges the logs of shards.
package tables

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
	"ringway/events/strictjson"
)

// A Request waits until enough is known to begin it, and then until it is
// fulfilled.
type Request struct {
	begin    func(time.Time) ([]cluster.Effect, error)
	reply    func(*cluster.State, *Request) any
	begun    bool
	table    string
	id       string   // of the request, if the replicas on the servers that it added must be ready
	added    []string // those servers as they were called then, if all must still be wanted
	ids      []int    // of other servers whose replicas must be ready
	shard    string   // if set, only the replicas of this shard
	log      string   // if set, on this incarnation of its log
	removed  []string // must not be in the route
	deadline time.Time
	done     func(any, error)
}

func (r *Request) answer(reply any, err error) cluster.Effect {
	return cluster.Answer{Done: r.done, Reply: reply, Err: err}
}

// Tables holds what a term knows of the requests about tables, and of the work
// on their logs.
type Tables struct {
	s         *cluster.State
	requests  []*Request
	creations map[events.LogID]*logCreation
	purges    map[events.LogID]*logPurge
}

func New(s *cluster.State) *Tables {
	return &Tables{s: s, creations: map[events.LogID]*logCreation{}, purges: map[events.LogID]*logPurge{}}
}

// Verbs are the requests about tables.
func (t *Tables) Verbs() map[string]cluster.Verb {
	return map[string]cluster.Verb{
		events.APIInit:          verb(t, initTable, serversReply),
		events.APIAddServers:    verb(t, addServers, serversReply),
		events.APIRemoveServers: verb(t, removeServers, serversReply),
		events.APIRecover:       verb(t, recoverShard, recovered),
	}
}

func verb[R any](t *Tables, begin func(*cluster.State, *Request, R, time.Time) ([]cluster.Effect, error), reply func(*cluster.State, *Request) any) cluster.Verb {
	return func(body []byte) (cluster.Begin, error) {
		var req R
		if err := strictjson.Decode(body, &req); err != nil {
			return nil, err
		}
		r := &Request{reply: reply}
		r.begin = func(now time.Time) ([]cluster.Effect, error) { return begin(t.s, r, req, now) }
		return func(now time.Time, done func(any, error)) []cluster.Effect {
			r.deadline, r.done = now.Add(t.s.Cfg.TableTimeout), done
			t.requests = append(t.requests, r)
			return nil
		}, nil
	}
}

// BeginRequests begins one request after the other: each looks at what the one
// before has changed. It waits for hosts, like every placement.
func (t *Tables) BeginRequests(now time.Time) []cluster.Effect {
	if !t.s.ReadyToPlace(now) {
		return nil
	}
	for _, r := range t.requests {
		if r.begun {
			continue
		}
		r.begun = true
		effects, err := r.begin(now)
		if errors.Is(err, errDeferred) {
			r.begun = false
			continue
		}
		if err != nil {
			t.requests = slices.DeleteFunc(t.requests, func(other *Request) bool { return other == r })
			return []cluster.Effect{r.answer(nil, err)}
		}
		if len(effects) > 0 {
			return effects
		}
	}
	return nil
}

// Reply answers the requests that are fulfilled, or whose time is up.
func (t *Tables) Reply(now time.Time) (effects []cluster.Effect) {
	t.requests = slices.DeleteFunc(t.requests, func(r *Request) bool {
		missing, lost := "no host has been heard, and nothing was changed", error(nil)
		if r.begun {
			missing = t.waitingFor(r, now)
			lost = cluster.RemovedMeanwhile(r.added, t.s.Tables[r.table].Value.Servers, r.has)
		}
		switch {
		case lost != nil:
			effects = append(effects, r.answer(nil, lost))
		case missing == "":
			effects = append(effects, r.answer(r.reply(t.s, r), nil))
		case now.Before(r.deadline):
			return false
		case !r.begun:
			effects = append(effects, r.answer(nil, events.StatusErrorf(http.StatusServiceUnavailable, "%s", missing)))
		default:
			effects = append(effects, r.answer(nil, events.StatusErrorf(http.StatusGatewayTimeout,
				"accepted, but not finished in time: %s; the controller goes on with it", missing)))
		}
		return true
	})
	return effects
}

// waitingFor is what a request still waits for.
func (t *Tables) waitingFor(r *Request, now time.Time) string {
	s := t.s
	db := s.Tables[r.table].Value
	for _, l := range db.Logs {
		if !l.Made {
			why := "not made yet"
			if m := t.creations[events.LogID{Table: r.table, Shard: l.Shard, Incarnation: l.Incarnation}]; m != nil && m.err != nil {
				why = m.err.Error()
			}
			return fmt.Sprintf("the log of shard %s is %s", l.Shard, why)
		}
	}
	route, ok := s.TableRoutes[r.table]
	if !ok {
		return "there is no route yet"
	}
	for _, name := range r.removed {
		if _, there := route.Value.Server(name); there {
			return name + " is still in the route"
		}
	}
	for _, srv := range db.Servers {
		if !r.has(srv) {
			continue
		}
		for _, shard := range srv.Shards {
			if (r.shard == "" || shard == r.shard) && !cluster.ReadyIn(route.Value, srv.Name, shard, r.log) {
				return fmt.Sprintf("shard %s on %s is not ready yet", shard, srv.Name)
			}
		}
		if _, there := route.Value.Server(srv.Name); !there {
			return srv.Name + " is not in the route yet"
		}
	}
	if !s.TableServed(r.table, route.Version, now) {
		return "a router serves an older route"
	}
	return ""
}
