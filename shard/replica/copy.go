package replica

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"ringway/events/shardapi"
	"ringway/internal/failpoint"
	"ringway/shard/storage"
)

// Parts of a copy.
const (
	partItems = 256
	partBytes = 1 << 20
	maxLine   = 32 << 20 // the results of the largest batch
)

// WriteCopy writes a snapshot as a copy: its head, its items and its end, a line
// each. It returns how many lines it has begun.
func WriteCopy(ctx context.Context, w *bufio.Writer, snapshot storage.Snapshot) (lines int, err error) {
	head := snapshot.Head()
	line, err := json.Marshal(head)
	if err != nil {
		return 0, err
	}
	if _, err = w.Write(append(line, '\n')); err != nil {
		return 0, err
	}
	lines = 1
	err = snapshot.Items(ctx, func(item shardapi.CopyItem) error {
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
		_, err = w.Write(shardapi.AppendEnd(nil, head.Position.Seq, lines))
	}
	if err == nil {
		err = w.Flush()
	}
	return lines, err
}

// appendItem is json.Marshal, for rows without reflection.
func appendItem(to []byte, item *shardapi.CopyItem) ([]byte, error) {
	if item.Row != nil {
		row, err := item.Row.MarshalJSON()
		return append(append(append(to, `{"row":`...), row...), '}'), err
	}
	b, err := json.Marshal(item)
	return append(to, b...), err
}

// copyStream is a copy that is being received, line by line.
type copyStream struct {
	body    io.ReadCloser
	lines   *bufio.Scanner
	cancel  context.CancelFunc
	timer   *time.Timer // cancels when no line has come for
	stalled time.Duration
}

// requestCopy asks a donor for a copy.
func requestCopy(ctx context.Context, client *http.Client, stalled time.Duration, t *Target, from peer) (*copyStream, error) {
	ctx, cancel := context.WithCancel(ctx)
	in := &copyStream{cancel: cancel, stalled: stalled, timer: time.AfterFunc(stalled, cancel)}
	at := "http://" + from.address + shardapi.Path(t.Spec.Table, t.Spec.Shard.ID, "copy") + "?log=" + url.QueryEscape(t.Log.Incarnation)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err == nil {
		var response *http.Response
		if response, err = client.Do(request); err == nil { //nolint:bodyclose // copyStream.close does
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

// next is the next line, which is valid until the one after.
func (in *copyStream) next() ([]byte, error) {
	in.timer.Reset(in.stalled)
	defer in.timer.Stop() // what is done with a line is not the donor's time
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
	in.timer.Stop()
	in.cancel()
	if in.body != nil {
		_ = in.body.Close() // nothing more is wanted of it
	}
}

// restoreItems puts a copy into a store, part by part, and demands its end.
func restoreItems(ctx context.Context, in *copyStream, restore storage.Restore, seq uint64) (items int, err error) {
	var part []shardapi.CopyItem
	bytes := 0
	for {
		line, err := in.next()
		if err != nil {
			return items, err
		}
		last := line[0] == shardapi.End
		if last {
			if want := shardapi.AppendEnd(nil, seq, items+1); string(line)+"\n" != string(want) {
				return items, fmt.Errorf("it ends with %.60q, want %q", line, want[:len(want)-1])
			}
		} else {
			item, err := shardapi.DecodeCopyItem(line)
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
