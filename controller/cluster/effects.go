package cluster

import (
	"time"

	"ringway/events"
)

func (s *State) Because(cause ...events.Event) events.Decision {
	return events.Decision{Term: s.Term, Cause: cause}
}

// An Effect is something that the leader does: one of the types below. Effects
// are carried out in order; a put that fails ends the term.
type Effect any

type (
	PutService    struct{ Value events.Service }
	PutAssignment struct{ Value events.Assignment }
	PutRoute      struct{ Value events.Route }
	PutTable      struct{ Value events.Database }
	PutTableRoute struct{ Value events.TableRoute }

	Emit   struct{ Event events.Event }
	Resign struct{ Key string } // the term ends; the next one begins with what is stored

	Answer struct { // of a request
		Done  func(reply any, err error)
		Reply any
		Err   error
	}
)

// Work on logs is done apart from the decisions. done takes the outcome later,
// and returns what follows from it.
type (
	DeleteOldLog struct { // whatever log of the shard is not id
		ID   events.LogID
		Done func(exists bool, err error, now time.Time) []Effect // exists: id is there already
	}
	CreateLog struct {
		ID    events.LogID
		First uint64
		Done  func(err error, now time.Time) []Effect
	}
	PurgeLog struct {
		ID       events.LogID
		Below    uint64
		MinPurge uint64                                                             // entries to free, or it is not done
		Done     func(first uint64, purged bool, err error, now time.Time) []Effect // first: of the log before
	}
)

// RolledBack: if the proof can be stored, nobody else has written, so the bus
// went back to an older copy. The term ends in any case.
type RolledBack struct {
	Proof Effect
	Why   string
}

// Verb reads the body of a request.
type Verb func(body []byte) (Begin, error)

// Begin begins the work on a request; done is called once, with the answer.
type Begin func(now time.Time, done func(reply any, err error)) []Effect

// Emit makes an event that no stored value carries.
func (s *State) Emit(now time.Time, entity, verb, about string, data map[string]any) []Effect {
	return []Effect{Emit{Event: s.Event(now, entity, verb, about, data)}}
}

// EmitOnce reports that something cannot be had as it is configured or requested.
func (s *State) EmitOnce(now time.Time, entity, about string, err error) []Effect {
	return s.ReportOnce(now, entity, events.VerbRefused, about, err.Error())
}

// ReportOnce reports why something is not as it should be, until there is another reason.
func (s *State) ReportOnce(now time.Time, entity, verb, about, why string) []Effect {
	key := entity + " " + verb + " " + about
	if s.reported[key] == why {
		return nil
	}
	s.reported[key] = why
	return s.Emit(now, entity, verb, about, map[string]any{"reason": why})
}

func (s *State) Event(now time.Time, entity, verb, about string, data map[string]any) events.Event {
	data["term"] = s.Term.Revision
	return events.NewEvent("controller/"+s.Cfg.ID, entity, verb, about, now, data)
}

// MaxCarriedEvents bounds what a stored value carries of the past: it has to fit
// one message.
const MaxCarriedEvents = 100
