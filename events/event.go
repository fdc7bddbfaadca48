package events

import (
	"crypto/rand"
	"encoding/json"
	"time"
)

// EventsKept is how long StreamEvents keeps an event.
const EventsKept = 7 * 24 * time.Hour

// Entities and verbs of events: ringway.evt.<entity>.<verb>.<id>.
const (
	EntityService    = "service"
	EntityInstance   = "instance"
	EntityHost       = "host"
	EntityRoute      = "route"
	EntityRouter     = "router"
	EntityController = "controller"
	EntityTable      = "table"
	EntityShard      = "shard" // about <table>.<shard>
	EntityBus        = "bus"   // about one of its buckets or streams

	VerbCreated  = "created"  // service; instance: to follow another
	VerbScaled   = "scaled"   // service: by request or configuration; bus: a stream has more copies
	VerbRefused  = "refused"  // service: it cannot be had as asked for
	VerbAssigned = "assigned" // instance: to a host
	VerbReady    = "ready"    // instance: in rotation
	VerbUnready  = "unready"  // instance: out of rotation, may come back
	VerbDied     = "died"     // instance
	VerbReplaced = "replaced" // instance: by another, under a new name
	VerbDraining = "draining" // instance: gets no new request
	VerbLooping  = "looping"  // instance: it dies again and again before it is ready
	VerbRemoved  = "removed"  // instance
	VerbJoined   = "joined"   // host, router
	VerbSuspect  = "suspect"  // host
	VerbReturned = "returned" // host
	VerbLost     = "lost"     // host, router
	VerbChanged  = "changed"  // route; table: what its servers are to be started with
	VerbElected  = "elected"  // controller

	VerbResponder   = "eager"       // shard: another replica answers writers
	VerbFilling     = "filling"     // shard: a replica is being copied
	VerbFilled      = "filled"      // shard: a replica has become ready
	VerbQuarantined = "quarantined" // shard: a replica is on another history
	VerbHalted      = "halted"      // shard: a replica, or all of them, cannot go on; service, table: a change is not rolled out any further
	VerbDamaged     = "damaged"     // shard: its log lost something that it should have
	VerbPurged      = "purged"      // shard: its log, below a seq
	VerbRecovered   = "recovered"   // shard: a new log continues the most advanced replica
	VerbRenewing    = "renewing"    // instance: a shard server is stopped, to be started anew under its name
	VerbPostponed   = "postponed"   // instance: it is not renewed now, for it is needed; service: why a change waits
	VerbRenewed     = "renewed"     // instance: it is ready again
	VerbRolledBack  = "rewound"     // bus: it went back to an older copy of itself
)

// Event is something that happened, after CloudEvents 1.0: on the bus its
// attributes are ce-* headers (binary mode) and Data is the body.
type Event struct {
	ID     string          `json:"id"`
	Entity string          `json:"entity"`
	Verb   string          `json:"verb"`
	About  string          `json:"about"`  // identity of the entity
	Source string          `json:"source"` // who published it: controller/<id>
	Time   time.Time       `json:"time"`
	Data   json.RawMessage `json:"data,omitempty"`
}

// NewEvent makes an event with a random id. It panics if data cannot be JSON,
// which only a programming error can cause.
func NewEvent(source, entity, verb, about string, now time.Time, data any) Event {
	body, err := json.Marshal(data)
	if err != nil {
		panic("BUG: event data: " + err.Error())
	}
	return Event{ID: rand.Text(), Entity: entity, Verb: verb, About: about, Source: source, Time: now.UTC(), Data: body}
}

// Subject is where the event is published.
func (e *Event) Subject() string { return EventSubject(e.Entity, e.Verb, e.About) }

// Type is the CloudEvents type.
func (e *Event) Type() string { return "io.ringway." + e.Entity + "." + e.Verb }
