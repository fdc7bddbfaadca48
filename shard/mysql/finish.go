package mysql

import (
	"encoding/hex"
	"strconv"

	"github.com/go-sql-driver/mysql"

	"ringway/events"
	"ringway/shard/state"
	"ringway/shard/storage"
)

// notNull is the server's refusal of a NULL where none may be.
const notNull = 1048

// finish moves the position, notes results and commits, all in one round trip.
// A position that is not where it should be becomes NULL, which the server
// refuses, and then does none of the rest.
//
// Prepared statements cannot be sent together, so this is text. All that is in
// it are numbers and hexadecimal digits.
func (t *transaction) finish(from events.Position, c *state.Change) error {
	text := make([]byte, 0, 512+128*len(c.Results))
	add := func(parts ...string) {
		for _, part := range parts {
			text = append(text, part...)
		}
	}
	to, clock := c.Position, strconv.FormatInt(state.Nanos(c.Clock), 10)
	add("UPDATE ringway_replicas SET seq = IF(copying = 0 AND seq = ", number(from.Seq), " AND incarnation = ", literal(from.Incarnation),
		" AND batch = ", literal(from.Batch), ", ", number(to.Seq), ", NULL), batch = ", literal(to.Batch), ", clock = ", clock, " WHERE name = ", literal(t.name), "; INSERT INTO ", quote(resultsTable(t.name)),
		" (seq, batch, at, ops, notable) VALUES ")
	for i := range c.Results {
		if i > 0 {
			add(", ")
		}
		k := &c.Results[i]
		add("(", number(k.Results.Seq), ", ", literal(k.Results.Batch), ", ", strconv.FormatInt(state.Nanos(k.At), 10), ", ", strconv.Itoa(k.Results.Ops), ", '')")
	}
	add("; COMMIT")
	done, err := t.execNamed(string(text), nil)
	if isServerError(err, notNull) {
		return storage.ErrFenced
	}
	if err != nil {
		return err
	}
	if all := done.(mysql.Result).AllRowsAffected(); len(all) != 3 || all[0] != 1 {
		return storage.ErrFenced // the replica was dropped
	}
	return nil
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

// literal is a byte string as SQL that needs no escapes.
func literal(s string) string { return "X'" + hex.EncodeToString([]byte(s)) + "'" }
