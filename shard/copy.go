package shard

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/events"
)

// Parts of a copy.
const (
	partItems = 256
	partBytes = 1 << 20
	lineMost  = 32 << 20 // the results of the largest batch
)

// serveCopy hands out a replica as it is at one moment.
func (s *Server) serveCopy(ctx *fasthttp.RequestCtx, r *replica) error {
	release, err := s.turn(s.copies, "copies")
	if err != nil {
		return err
	}
	life, end := context.WithCancel(s.context())
	snapshot, err := r.store.Snapshot(life)
	if err != nil {
		end()
		release()
		return err
	}
	ctx.SetBodyStreamWriter(func(w *bufio.Writer) {
		defer release()
		defer end()
		defer snapshot.Close()
		n, err := writeCopy(life, w, snapshot)
		if err != nil {
			s.log.Warn("copy was cut off", events.KeyTable, r.store.Spec().Table, events.KeyShard, r.store.Spec().Shard.ID, "lines", n, events.KeyError, err)
		}
	})
	return nil
}

func writeCopy(ctx context.Context, w *bufio.Writer, snapshot Snapshot) (lines int, err error) {
	head := snapshot.Head()
	line, err := json.Marshal(head)
	if err != nil {
		return 0, err
	}
	if _, err = w.Write(append(line, '\n')); err != nil {
		return 0, err
	}
	lines = 1
	err = snapshot.Items(ctx, func(item events.CopyItem) error {
		line, err := appendItem(line[:0], &item)
		if err != nil {
			return err
		}
		if lines++; lines%partItems == 0 {
			events.FailPoint("copy-out")
		}
		_, err = w.Write(append(line, '\n'))
		return err
	})
	if err == nil {
		_, err = w.Write(events.AppendShardEnd(nil, head.Position.Seq, lines))
	}
	if err == nil {
		err = w.Flush()
	}
	return lines, err
}

// appendItem is json.Marshal, for rows without its detour.
func appendItem(to []byte, item *events.CopyItem) ([]byte, error) {
	if item.Row != nil {
		row, err := item.Row.MarshalJSON()
		return append(append(append(to, `{"row":`...), row...), '}'), err
	}
	b, err := json.Marshal(item)
	return append(to, b...), err
}

// fill copies the replica of a donor into the engine.
func (k *keeper) fill(ctx context.Context, engine Engine, a *aim) error {
	if !k.s.fills.take(ctx) {
		return ctx.Err()
	}
	defer k.s.fills.give()
	return k.fillNow(ctx, engine, a)
}

// fillNow is fill by who has the turn.
func (k *keeper) fillNow(ctx context.Context, engine Engine, a *aim) error {
	return k.fromAny(ctx, a, func(from donor) error { return k.copyFrom(ctx, engine, a, from) })
}

// fromAny tries donors until one will do.
func (k *keeper) fromAny(ctx context.Context, a *aim, do func(from donor) error) error {
	var errs []error
	for _, i := range rand.Perm(len(a.donors)) {
		err := do(a.donors[i])
		if err == nil || ctx.Err() != nil {
			return err
		}
		errs = append(errs, fmt.Errorf("copy from %s: %w", a.donors[i].server, err))
	}
	return errors.Join(errs...)
}

// replace erases what is there when a donor has shown that it has something
// better, and sets it aside before if it is of another history. Both may take
// long, so no donor waits for them with a copy; but the replica keeps what it
// has until it is its turn to be filled.
func (k *keeper) replace(ctx context.Context, engine Engine, a *aim, at *events.Position, foreign bool) error {
	if !k.s.fills.take(ctx) {
		return ctx.Err()
	}
	defer k.s.fills.give()
	if foreign && k.aside != *at {
		if err := k.findBetter(ctx, a, at); err != nil {
			return err
		}
		if err := k.setAside(ctx, engine, at); err != nil {
			return err
		}
		k.aside = *at
	}
	// The verdict may be of long ago.
	_, err := agrees(ctx, k.s.logs(a.logID()), *at)
	switch {
	case err == nil && at.Incarnation == a.log.Incarnation:
		k.say.Info("replica and log agree after all", "at", at.String())
		return nil
	case err != nil && !errors.Is(err, events.ErrLogForeign) && !errors.Is(err, events.ErrLogPurged):
		return err
	}
	if err := k.findBetter(ctx, a, at); err != nil {
		return err
	}
	k.say.Warn("replica is erased", "at", at.String())
	if err := engine.Drop(ctx, k.key.table, k.key.shard); err != nil {
		return err
	}
	if err := k.fillNow(ctx, engine, a); err != nil { // the next step fills what is empty
		k.say.Warn("copying failed", events.KeyError, err)
	}
	return nil
}

func (k *keeper) findBetter(ctx context.Context, a *aim, at *events.Position) error {
	return k.fromAny(ctx, a, func(from donor) error {
		in, head, err := k.begin(ctx, a, from, at)
		if err != nil {
			return err
		}
		in.close()
		k.say.Warn("a donor has better than what is here", "at", at.String(), "donor", from.server, "donor_at", head.Position.String())
		return nil
	})
}

func (k *keeper) copyFrom(ctx context.Context, engine Engine, a *aim, from donor) error {
	began := time.Now()
	in, head, err := k.begin(ctx, a, from, nil)
	if err != nil {
		return err
	}
	defer in.close()
	k.place(&head.Position)
	k.tell(events.ReplicaCopying, "from "+from.server)
	restore, err := engine.Restore(ctx, *head)
	if err != nil {
		return err
	}
	rows, err := pour(ctx, in, restore, head.Position.Seq)
	if err != nil {
		return err
	}
	if err := restore.Finish(ctx); err != nil {
		return err
	}
	k.say.Info("replica is copied", "donor", from.server, "at", head.Position.String(), "items", rows, "took", time.Since(began))
	return nil
}

// begin has a donor send a copy that is better than what is here, at at.
func (k *keeper) begin(ctx context.Context, a *aim, from donor, at *events.Position) (*incoming, *events.CopyHead, error) {
	in, err := k.ask(ctx, a, from)
	if err != nil {
		return nil, nil, err
	}
	line, err := in.next()
	var head events.CopyHead
	if err == nil {
		head, err = events.DecodeCopyHead(line)
	}
	if err == nil {
		err = k.judge(ctx, a, &head, at)
	}
	if err != nil {
		in.close()
		return nil, nil, err
	}
	return in, &head, nil
}

// judge refuses a copy that would be no gain.
func (k *keeper) judge(ctx context.Context, a *aim, head *events.CopyHead, at *events.Position) error {
	switch {
	case head.Position.Incarnation != a.log.Incarnation:
		return fmt.Errorf("it is at %s, of another log", head.Position)
	case head.Spec.Table != a.spec.Table || head.Spec.Shard != a.spec.Shard || !head.Spec.Schema.Equal(&a.spec.Schema):
		return errors.New("it is of another shard")
	case at != nil && at.Incarnation == head.Position.Incarnation && at.Batch == head.Position.Batch && at.Seq >= head.Position.Seq:
		return fmt.Errorf("it is no further than %s", at)
	}
	_, err := agrees(ctx, k.s.logs(a.logID()), head.Position)
	return err
}

// pour puts what comes into a store, part by part, and demands its end.
func pour(ctx context.Context, in *incoming, restore Restore, seq uint64) (items int, err error) {
	var part []events.CopyItem
	bytes := 0
	for {
		line, err := in.next()
		if err != nil {
			return items, err
		}
		last := line[0] == events.ShardEnd
		if last {
			if want := events.AppendShardEnd(nil, seq, items+1); string(line)+"\n" != string(want) {
				return items, fmt.Errorf("it ends with %.60q, want %q", line, want[:len(want)-1])
			}
		} else {
			item, err := events.DecodeCopyItem(line)
			if err != nil {
				return items, err
			}
			part, bytes, items = append(part, item), bytes+len(line), items+1
		}
		if len(part) > 0 && (last || len(part) == partItems || bytes > partBytes) {
			if err := restore.Add(ctx, part); err != nil {
				return items, err
			}
			events.FailPoint("copy")
			clear(part)
			part, bytes = part[:0], 0
		}
		if last {
			return items, nil
		}
	}
}

// incoming is a copy on its way here, line by line.
type incoming struct {
	body    io.ReadCloser
	lines   *bufio.Scanner
	cancel  context.CancelFunc
	stalled *time.Timer
	patient time.Duration
}

func (k *keeper) ask(ctx context.Context, a *aim, from donor) (*incoming, error) {
	ctx, cancel := context.WithCancel(ctx)
	patient := k.s.cfg.Stalled
	in := &incoming{cancel: cancel, patient: patient, stalled: time.AfterFunc(patient, cancel)}
	at := "http://" + from.address + events.ShardPath(k.key.table, k.key.shard, "copy") + "?log=" + url.QueryEscape(a.log.Incarnation)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err == nil {
		var response *http.Response
		if response, err = k.s.http.Do(request); err == nil { //nolint:bodyclose // incoming.close does
			in.body = response.Body
			if response.StatusCode != http.StatusOK {
				said, _ := io.ReadAll(io.LimitReader(response.Body, 500)) // for the message
				err = fmt.Errorf("it answers %d: %s", response.StatusCode, bytes.TrimSpace(said))
			}
		}
	}
	if err != nil {
		in.close()
		return nil, err
	}
	in.lines = bufio.NewScanner(in.body)
	in.lines.Buffer(make([]byte, 0, 64<<10), lineMost)
	return in, nil
}

// next is the next line, which holds until the one after.
func (in *incoming) next() ([]byte, error) {
	in.stalled.Reset(in.patient)
	defer in.stalled.Stop() // what is done with a line is not the donor's time
	more := in.lines.Scan()
	if err := in.lines.Err(); err != nil { // the line is what came of one
		return nil, err
	}
	if !more || len(in.lines.Bytes()) == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	return in.lines.Bytes(), nil
}

func (in *incoming) close() {
	in.stalled.Stop()
	in.cancel()
	if in.body != nil {
		_ = in.body.Close() // nothing more is wanted of it
	}
}
