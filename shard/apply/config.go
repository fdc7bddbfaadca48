package apply

import (
	"time"

	"ringway/events"
	"ringway/events/shardlog"
)

// Config is what can be tuned. Delay, DelayPerOp and MaxDelay are explained at delay.
type Config struct {
	Responder    bool          // answers writers, and commits what is there at once, until SetResponder changes it
	Delay        time.Duration // how long a replica that is not the responder waits for more
	DelayPerOp   time.Duration // longer, for each op of its last transaction,
	MaxDelay     time.Duration // but no longer than this
	MaxEntries   int           // messages of one transaction
	MaxReadAhead int           // bytes of messages read ahead of the store
	RetryMin     time.Duration // first wait after a failure that may pass; doubles
	RetryMax     time.Duration
	MaxFenced    int           // times in a row that another applier may have been first
	Republish    time.Duration // how far back a new responder publishes results again, which its predecessor may not have published

	Budget *Budget            // shared by many appliers; nil: MaxReadAhead alone bounds what is read ahead
	Marker func(batch string) // is called at a marker of OpDigest, before the store moves on; may be nil
	Fault  func(error)        // is called with each error after which it tries again, and with nil when the store answers; may be nil
	Cache  rowCache           // of rows, kept up to date; may be nil
}

// rowCache is updated with every change of a store before anyone can see that change.
type rowCache interface {
	Begin(at events.Position)                                  // the store is there, however it came there
	Applied(entries []shardlog.Entry, done []shardlog.Results) // the store has applied these, which follow
}

// DefaultConfig keeps a replica within some milliseconds of its log.
func DefaultConfig() Config {
	return Config{
		Responder: true, Delay: 50 * time.Millisecond, DelayPerOp: 2 * time.Millisecond, MaxDelay: 200 * time.Millisecond, MaxEntries: 512, MaxReadAhead: 8 << 20,
		RetryMin: 10 * time.Millisecond, RetryMax: time.Second, MaxFenced: 10, Republish: 2 * time.Second,
	}
}

// delay is how long a replica that is not the responder waits, after the first
// message of a fetch batch is there, before it fetches and applies what has come:
//
//	max(Delay, min(ops of the last transaction * DelayPerOp, MaxDelay))
//
// It is the group commit delay of a follower, like commit_delay of PostgreSQL or
// linger.ms of Kafka. A transaction has a fixed cost (round trips, moving the
// position, a flush of the redo log) and so has a fetch; with the delay they are paid
// once for all that comes meanwhile, which leaves the machine to the responder. No
// writer notices it, because the responder answers without delay. While little is
// written, the delay is short and the replica is at most Delay behind. Many ops in the
// last transaction show that writes come fast; then a longer delay gathers more of
// them, and MaxDelay bounds how far the replica falls behind.
func (c *Config) delay(ops int64) time.Duration {
	return max(c.Delay, min(time.Duration(ops)*c.DelayPerOp, c.MaxDelay))
}
