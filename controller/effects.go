package controller

import (
	"time"

	"ringway/events"
)

// An effect is something that the leader does. Effects are carried out in
// order; a put that fails ends the term.
type effect interface{ effect() }

type (
	putService    struct{ value events.Service }
	putAssign     struct{ value events.Assignment }
	putRoute      struct{ value events.Route }
	putTable      struct{ value events.Database }
	putTableRoute struct{ value events.TableRoute }

	emit   struct{ event events.Event }
	resign struct{ key string } // the term ends; the next one begins with what is stored

	answer struct { // of a request
		done  func(reply any, err error)
		reply any
		err   error
	}
)

// Work on logs is done apart from the decisions. done takes the outcome later,
// and returns what follows from it.
type (
	deleteOldLog struct { // whatever log of the shard is not id
		id   events.LogID
		done func(exists bool, err error, now time.Time) []effect // exists: id is there already
	}
	createLog struct {
		id    events.LogID
		first uint64
		done  func(err error, now time.Time) []effect
	}
	purgeLog struct {
		id       events.LogID
		below    uint64
		minPurge uint64                                                             // entries to free, or it is not done
		done     func(first uint64, purged bool, err error, now time.Time) []effect // first: of the log before
	}
)

// rolledBack: if the proof can be stored, nobody else has written, so the bus
// went back to an older copy. The term ends in any case.
type rolledBack struct {
	proof effect
	why   string
}

func (putService) effect()    {}
func (putAssign) effect()     {}
func (putRoute) effect()      {}
func (putTable) effect()      {}
func (putTableRoute) effect() {}
func (emit) effect()          {}
func (resign) effect()        {}
func (answer) effect()        {}
func (deleteOldLog) effect()  {}
func (createLog) effect()     {}
func (purgeLog) effect()      {}
func (rolledBack) effect()    {}

// verb reads the body of a request.
type verb func(body []byte) (begin, error)

// begin begins the work on a request; done is called once, with the answer.
type begin func(now time.Time, done func(reply any, err error)) []effect
