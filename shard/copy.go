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

// fill copies the replica of a donor into the engine, in place of what is
// there: that is erased when a donor has shown that it has something better,
// and set aside before if it is of another history.
func (k *keeper) fill(ctx context.Context, engine Engine, a *aim, at *events.Position, foreign bool) error {
	if !k.s.fills.take(ctx) {
		return ctx.Err()
	}
	defer k.s.fills.give()
	var errs []error
	for _, i := range rand.Perm(len(a.donors)) {
		err := k.copyFrom(ctx, engine, a, a.donors[i], at, foreign)
		if err == nil || ctx.Err() != nil {
			return err
		}
		errs = append(errs, fmt.Errorf("copy from %s: %w", a.donors[i].server, err))
	}
	return errors.Join(errs...)
}

func (k *keeper) copyFrom(ctx context.Context, engine Engine, a *aim, from donor, at *events.Position, foreign bool) error {
	began := time.Now()
	in, err := k.ask(ctx, a, from)
	if err != nil {
		return err
	}
	defer in.close()
	line, err := in.next()
	if err != nil {
		return err
	}
	head, err := events.DecodeCopyHead(line)
	if err != nil {
		return err
	}
	if err := k.judge(ctx, a, &head, at); err != nil {
		return err
	}
	if at != nil {
		if foreign {
			if err := k.setAside(ctx, engine, at); err != nil {
				return err
			}
		}
		k.say.Warn("replica is erased, a donor has better", "at", at.String(), "donor", from.server, "donor_at", head.Position.String())
		if err := engine.Drop(ctx, k.key.table, k.key.shard); err != nil {
			return err
		}
	}
	k.place(&head.Position)
	k.tell(events.ReplicaCopying, "from "+from.server)
	restore, err := engine.Restore(ctx, head)
	if err != nil {
		return err
	}
	defer restore.Close()
	rows, err := pour(ctx, in, restore, head.Position.Seq)
	if err != nil {
		return err
	}
	store, err := restore.Finish(ctx)
	if err != nil {
		return err
	}
	k.say.Info("replica is copied", "donor", from.server, "at", head.Position.String(), "items", rows, "took", time.Since(began))
	return store.Close()
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
	if in.lines.Scan() && len(in.lines.Bytes()) > 0 {
		return in.lines.Bytes(), nil
	}
	if err := in.lines.Err(); err != nil {
		return nil, err
	}
	return nil, io.ErrUnexpectedEOF
}

func (in *incoming) close() {
	in.stalled.Stop()
	in.cancel()
	if in.body != nil {
		_ = in.body.Close() // nothing more is wanted of it
	}
}
