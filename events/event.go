package events

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
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
	EntityBus        = "bus"   // about one of its buckets

	VerbCreated  = "created"  // service; instance: to follow another
	VerbScaled   = "scaled"   // service: by request or configuration
	VerbRefused  = "refused"  // service: it cannot be had as asked for
	VerbAssigned = "assigned" // instance: to a host
	VerbReady    = "ready"    // instance: in rotation
	VerbUnready  = "unready"  // instance: out of rotation, may come back
	VerbDied     = "died"     // instance
	VerbReplaced = "replaced" // instance: by another, under a new name
	VerbDraining = "draining" // instance: gets no new request
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
	VerbPurged      = "purged"      // shard: its log, below a seq
	VerbRecovered   = "recovered"   // shard: a new log continues the most advanced replica
	VerbRenewing    = "renewing"    // instance: a shard server is stopped, to be started anew under its name
	VerbPostponed   = "postponed"   // instance: it is not renewed now, for it is needed
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
	Source string          `json:"source"` // who says so: controller/<id>
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

// Headers are the CloudEvents attributes of e in binary mode.
func (e *Event) Headers() map[string]string {
	return map[string]string{
		"ce-specversion": "1.0",
		"ce-id":          e.ID,
		"ce-source":      "/ringway/" + e.Source,
		"ce-type":        e.Type(),
		"ce-subject":     e.About,
		"ce-time":        e.Time.UTC().Format(time.RFC3339Nano),
		"content-type":   "application/json",
	}
}

// ParseEvent reads an event back from its headers and body.
func ParseEvent(header func(string) string, body []byte) (Event, error) {
	if v := header("ce-specversion"); v != "1.0" {
		return Event{}, fmt.Errorf("parse event: ce-specversion is %q, want 1.0", v)
	}
	at, err := time.Parse(time.RFC3339Nano, header("ce-time"))
	if err != nil {
		return Event{}, fmt.Errorf("parse event: ce-time: %w", err)
	}
	if y := at.UTC().Year(); y < 0 || y > 9999 { // as JSON and RFC 3339 have it
		return Event{}, fmt.Errorf("parse event: ce-time: year %d is out of range", y)
	}
	e := Event{ID: header("ce-id"), About: header("ce-subject"), Time: at.UTC(), Data: body}
	if e.ID == "" {
		return Event{}, fmt.Errorf("parse event: ce-id is missing")
	}
	if err := e.parseType(header("ce-type")); err != nil {
		return Event{}, err
	}
	if err := e.parseSource(header("ce-source")); err != nil {
		return Event{}, err
	}
	if len(body) > 0 && !json.Valid(body) {
		return Event{}, fmt.Errorf("parse event %s: the body is no JSON", e.ID)
	}
	return e, nil
}

func (e *Event) parseType(s string) error {
	rest, ok := strings.CutPrefix(s, "io.ringway.")
	if ok {
		e.Entity, e.Verb, ok = strings.Cut(rest, ".")
	}
	if !ok || !word(e.Entity) || !word(e.Verb) {
		return fmt.Errorf("parse event: ce-type %q is none of Ringway's", s)
	}
	return nil
}

func (e *Event) parseSource(s string) error {
	var ok bool
	if e.Source, ok = strings.CutPrefix(s, "/ringway/"); !ok {
		return fmt.Errorf("parse event: ce-source %q is none of Ringway's", s)
	}
	return nil
}

// word reports whether s can be one token of a subject and of a type.
func word(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}
