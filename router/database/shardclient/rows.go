package shardclient

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"ringway/events"
	"ringway/events/shardapi"
	"ringway/events/shardlog"
)

// Rows is the answer to a read of a range. Close it.
type Rows struct {
	reply  *reply
	minSeq uint64
	lines  *bufio.Reader
	long   []byte // a line that is longer than the buffer of lines
	count  int
	seq    uint64
}

func newRows(reply *reply, minSeq uint64) *Rows {
	return &Rows{reply: reply, minSeq: minSeq, lines: bufio.NewReaderSize(reply, 32<<10)}
}

// Close ends the answer.
func (r *Rows) Close() { _ = r.reply.Close() } // never fails

// Seq is what the replica had applied when it read the rows. It is known with the
// first row if the answer begins with it, else at the end.
func (r *Rows) Seq() uint64 { return r.seq }

// Next is the next row, good until the next call; io.EOF at the end of a whole
// answer.
func (r *Rows) Next() ([]byte, error) {
	line, err := r.line()
	if err == nil && line[0] == shardapi.Seq && r.count == 0 {
		if r.seq, err = strconv.ParseUint(string(line[1:len(line)-1]), 10, 64); err != nil {
			return nil, fmt.Errorf("%w: it begins with %.50q", errCut, line)
		}
		if err := notBelow(r.seq, r.minSeq); err != nil {
			return nil, err
		}
		line, err = r.line()
	}
	if err != nil {
		return nil, err
	}
	if line[0] == shardapi.End {
		return nil, r.end(line)
	}
	r.count++
	return line[:len(line)-1], nil
}

// end reads the last line; io.EOF if all is well.
func (r *Rows) end(line []byte) (err error) {
	if r.seq, err = parseEnd(line, r.count); err != nil {
		return err
	}
	if err := notBelow(r.seq, r.minSeq); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, r.lines); err != nil { // so that the connection can be kept
		return err
	}
	return io.EOF
}

// line is the next line with its end.
func (r *Rows) line() ([]byte, error) {
	r.long = r.long[:0]
	for {
		part, err := r.lines.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull) && len(r.long) < 2*shardlog.MaxOpBytes:
			r.long = append(r.long, part...)
		case errors.Is(err, io.EOF):
			return nil, errCut
		case err != nil:
			return nil, err
		case len(r.long) > 0:
			return append(r.long, part...), nil
		default:
			return part, nil
		}
	}
}

var errCut = errors.New("the answer was cut off")

// notBelow rejects the answer of a replica whose database went back between its
// check of the minimum seq and its answer.
func notBelow(seq, minSeq uint64) error {
	if seq < minSeq {
		return fmt.Errorf("it answers at %d, below %d", seq, minSeq)
	}
	return nil
}

// parseEnd reads the last line of an answer of n lines.
func parseEnd(line []byte, n int) (uint64, error) {
	seq, lines, _ := bytes.Cut(bytes.TrimSuffix(line[1:], []byte{'\n'}), []byte{' '})
	at, err := strconv.ParseUint(string(seq), 10, 64)
	if err != nil || string(lines) != strconv.Itoa(n) {
		return 0, fmt.Errorf("%w: it ends with %.50q after %d lines", errCut, line, n)
	}
	return at, nil
}

// keyOf is the key of a row as shard servers write it: its first column.
func keyOf(schema *events.Schema, line []byte) (int64, error) {
	name := schema.KeyColumn()
	if n := len(name) + 4; len(line) > n && string(line[2:n-2]) == name {
		digits := line[n:]
		if i := bytes.IndexAny(digits, ",}"); i > 0 && string(line[:2]) == `{"` && string(line[n-2:n]) == `":` {
			if key, err := strconv.ParseInt(string(digits[:i]), 10, 64); err == nil {
				return key, nil
			}
		}
	}
	row, err := schema.ReadRow(line) // Slow path: another order, or white space
	return row.Key(), err
}
