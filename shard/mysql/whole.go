package mysql

import (
	"context"
	"database/sql"
	"errors"
	"strconv"

	"ringway/events"
	"ringway/internal/failpoint"
	"ringway/shard/state"
	"ringway/shard/storage"
)

// maxWholeRows is how many rows the statement of insertWhole has at most. Each
// number has one of its own.
const maxWholeRows = 64

// compound begins a statement of several, which only MariaDB prepares.
const compound = "BEGIN NOT ATOMIC "

// errnoMoved is what a whole statement raises where the position is another.
// Servers have none of that number.
const errnoMoved = 30001

// compounds reports whether the server does prepared compound statements.
func compounds(ctx context.Context, db *sql.DB) (bool, error) {
	s, err := db.PrepareContext(ctx, compound+"DO ?; END")
	if err == nil {
		_, err = s.ExecContext(ctx, 1)
		err = errors.Join(err, s.Close())
	}
	if err != nil && ctx.Err() == nil && !errors.Is(classify(err), storage.ErrRetry) {
		return false, nil // it will not the next time either
	}
	return err == nil, err
}

// isWhole reports whether insertWhole does a change that only inserts. It has no
// point at which rows are written and not committed, for those who look there.
func (t *transaction) isWhole(c *state.Change) bool {
	return t.writers.compounds && len(c.Results) == 1 && len(c.Insert) > 0 && !failpoint.Armed("before-commit")
}

// whole is the statement that does what an insertion does, moves the position,
// notes the results and commits. Any error ends it, and the transaction is then
// to be rolled back. The server does it to its end even if nobody listens any
// more: whoever did not hear how it ended asks for the position, as always.
func whole(replica, insertion string) string {
	return compound + insertion + "; " +
		movePosition + "; IF ROW_COUNT() <> 1 THEN SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = " + strconv.Itoa(errnoMoved) + "; END IF; " +
		"INSERT INTO " + quote(resultsTable(replica)) + " (seq, batch, at, ops, notable) VALUES (?, ?, ?, ?, ''); COMMIT; END"
}

// insertWhole does what putRows and finish do, of one batch, with nothing for
// the server to parse, and if it is of usual size in one round trip.
func (t *transaction) insertWhole(from events.Position, c *state.Change) error {
	first := max(0, len(c.Insert)-maxWholeRows)
	if err := t.putRows(c.Insert[:first], ""); err != nil {
		return err
	}
	rows, to, kept := c.Insert[first:], c.Position, &c.Results[0]
	rest := [...]any{
		to.Incarnation, to.Seq, to.Batch, state.Nanos(c.Clock), t.name, from.Incarnation, from.Seq, from.Batch,
		kept.Results.Seq, kept.Results.Batch, state.Nanos(kept.At), int64(kept.Results.Ops),
	}
	args, usually := t.rowArguments(rows, len(rest))
	for i, value := range rest {
		args[len(args)-len(rest)+i].Value = value
	}
	err := t.execOnce(t.insertion(inserted{rows: len(rows), usually: usually, whole: true}), args)
	if isServerError(err, errnoMoved) {
		return storage.ErrFenced // or the replica was dropped
	}
	return err
}
