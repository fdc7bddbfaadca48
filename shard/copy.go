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
	"ringway/internal/failpoint"
	"ringway/shard/storage"
)

// Parts of a copy.
const (
	partItems = 256
	partBytes = 1 << 20
	maxLine   = 32 << 20 // the results of the largest batch
)

// serveCopy hands out a replica as it is at one moment.
func (s *Server) serveCopy(ctx *fasthttp.RequestCtx, r *replica) error {
	release, err := s.acquire(s.copies, "copies")
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

func writeCopy(ctx context.Context, w *bufio.Writer, snapshot storage.Snapshot) (lines int, err error) {
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
			failpoint.Hit("copy-out")
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
func (m *manager) fill(ctx context.Context, engine storage.Engine, t *target) error {
	if !m.s.fills.acquire(ctx) {
		return ctx.Err()
	}
	defer m.s.fills.release()
	return m.fillNow(ctx, engine, t)
}

// fillNow is fill by the one that holds the semaphore.
func (m *manager) fillNow(ctx context.Context, engine storage.Engine, t *target) error {
	return m.fromAny(ctx, t, func(from donor) error { return m.copyFrom(ctx, engine, t, from) })
}

// fromAny tries donors until one will do.
func (m *manager) fromAny(ctx context.Context, t *target, do func(from donor) error) error {
	var errs []error
	for _, i := range rand.Perm(len(t.donors)) {
		err := do(t.donors[i])
		if err == nil || ctx.Err() != nil {
			return err
		}
		errs = append(errs, fmt.Errorf("copy from %s: %w", t.donors[i].server, err))
	}
	return errors.Join(errs...)
}

// replace erases the replica once a donor has shown that it has a better one,
// and quarantines it before if it is of another history. Both may take long, so
// no donor holds a copy open meanwhile; but the replica keeps what it has until
// it may be filled.
func (m *manager) replace(ctx context.Context, engine storage.Engine, t *target, at *events.Position, foreign bool) error {
	if !m.s.fills.acquire(ctx) {
		return ctx.Err()
	}
	defer m.s.fills.release()
	if foreign && m.quarantined != *at {
		if err := m.findBetterCopy(ctx, t, at); err != nil {
			return err
		}
		if err := m.quarantine(ctx, engine, at); err != nil {
			return err
		}
		m.quarantined = *at
	}
	// The error of the applier may be old.
	_, err := compareWithLog(ctx, m.s.logs(t.logID()), *at)
	switch {
	case err == nil && at.Incarnation == t.log.Incarnation:
		m.logger.Info("replica and log agree after all", "at", at.String())
		return nil
	case err != nil && !errors.Is(err, events.ErrLogForeign) && !errors.Is(err, events.ErrLogPurged):
		return err
	}
	if err := m.findBetterCopy(ctx, t, at); err != nil {
		return err
	}
	m.logger.Warn("replica is erased", "at", at.String())
	if err := engine.Drop(ctx, m.key.table, m.key.shard); err != nil {
		return err
	}
	if err := m.fillNow(ctx, engine, t); err != nil { // the next step fills what is empty
		m.logger.Warn("copying failed", events.KeyError, err)
	}
	return nil
}

func (m *manager) findBetterCopy(ctx context.Context, t *target, at *events.Position) error {
	return m.fromAny(ctx, t, func(from donor) error {
		in, head, err := m.beginCopy(ctx, t, from, at)
		if err != nil {
			return err
		}
		in.close()
		m.logger.Warn("a donor has better than what is here", "at", at.String(), "donor", from.server, "donor_at", head.Position.String())
		return nil
	})
}

func (m *manager) copyFrom(ctx context.Context, engine storage.Engine, t *target, from donor) error {
	began := time.Now()
	in, head, err := m.beginCopy(ctx, t, from, nil)
	if err != nil {
		return err
	}
	defer in.close()
	m.setPosition(&head.Position)
	m.setState(events.ReplicaCopying, "from "+from.server)
	restore, err := engine.Restore(ctx, *head)
	if err != nil {
		return err
	}
	rows, err := restoreItems(ctx, in, restore, head.Position.Seq)
	if err != nil {
		return err
	}
	if err := restore.Finish(ctx); err != nil {
		return err
	}
	m.logger.Info("replica is copied", "donor", from.server, "at", head.Position.String(), "items", rows, "took", time.Since(began))
	return nil
}

// beginCopy has a donor send a copy that is better than what is here, at at.
func (m *manager) beginCopy(ctx context.Context, t *target, from donor, at *events.Position) (*copyStream, *events.CopyHead, error) {
	in, err := m.requestCopy(ctx, t, from)
	if err != nil {
		return nil, nil, err
	}
	line, err := in.next()
	var head events.CopyHead
	if err == nil {
		head, err = events.DecodeCopyHead(line)
	}
	if err == nil {
		err = m.checkCopy(ctx, t, &head, at)
	}
	if err != nil {
		in.close()
		return nil, nil, err
	}
	return in, &head, nil
}

// checkCopy refuses a copy that would be no gain.
func (m *manager) checkCopy(ctx context.Context, t *target, head *events.CopyHead, at *events.Position) error {
	switch {
	case head.Position.Incarnation != t.log.Incarnation:
		return fmt.Errorf("it is at %s, of another log", head.Position)
	case head.Spec.Table != t.spec.Table || head.Spec.Shard != t.spec.Shard || !head.Spec.Schema.Equal(&t.spec.Schema):
		return errors.New("it is of another shard")
	case at != nil && at.Incarnation == head.Position.Incarnation && at.Batch == head.Position.Batch && at.Seq >= head.Position.Seq:
		return fmt.Errorf("it is no further than %s", at)
	}
	_, err := compareWithLog(ctx, m.s.logs(t.logID()), head.Position)
	return err
}

// restoreItems puts a copy into a store, part by part, and demands its end.
func restoreItems(ctx context.Context, in *copyStream, restore storage.Restore, seq uint64) (items int, err error) {
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
			failpoint.Hit("copy")
			clear(part)
			part, bytes = part[:0], 0
		}
		if last {
			return items, nil
		}
	}
}

// copyStream is a copy that is being received, line by line.
type copyStream struct {
	body    io.ReadCloser
	lines   *bufio.Scanner
	cancel  context.CancelFunc
	stalled *time.Timer
	patient time.Duration
}

func (m *manager) requestCopy(ctx context.Context, t *target, from donor) (*copyStream, error) {
	ctx, cancel := context.WithCancel(ctx)
	patient := m.s.cfg.Stalled
	in := &copyStream{cancel: cancel, patient: patient, stalled: time.AfterFunc(patient, cancel)}
	at := "http://" + from.address + events.ShardPath(m.key.table, m.key.shard, "copy") + "?log=" + url.QueryEscape(t.log.Incarnation)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err == nil {
		var response *http.Response
		if response, err = m.s.http.Do(request); err == nil { //nolint:bodyclose // copyStream.close does
			in.body = response.Body
			if response.StatusCode != http.StatusOK {
				body, _ := io.ReadAll(io.LimitReader(response.Body, 500)) // for the message
				err = fmt.Errorf("it answers %d: %s", response.StatusCode, bytes.TrimSpace(body))
			}
		}
	}
	if err != nil {
		in.close()
		return nil, err
	}
	in.lines = bufio.NewScanner(in.body)
	in.lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	return in, nil
}

// next is the next line, which holds until the one after.
func (in *copyStream) next() ([]byte, error) {
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

func (in *copyStream) close() {
	in.stalled.Stop()
	in.cancel()
	if in.body != nil {
		_ = in.body.Close() // nothing more is wanted of it
	}
}
