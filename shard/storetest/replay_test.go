package storetest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"ringway/events/rowjson"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
	"ringway/shard/storage"
)

var rerecord = flag.Bool("update", false, "record the log and its digests anew")

const (
	recordedLog     = "log.jsonl.gz"
	recordedDigests = "digests.json"
	recordedBatches = 3000
	digestEvery     = 500
)

// recorded is one line of the log.
type recorded struct {
	At    time.Time       `json:"at"`
	Batch json.RawMessage `json:"batch"` // as writers append it
}

// checkpoint is what a replica holds at a seq, and what it answered until then.
type checkpoint struct {
	State   shardlog.StateDigest `json:"state"`
	Answers string               `json:"answers"` // SHA-256 of the results of all batches
}

// A log that was recorded once leads every engine to the states that it led
// the engines of that day to. The digests are never updated together with a
// change of an engine: a replica that was written by an older version has to
// agree with one that is written by a newer.
func TestEngines_ReplayedLogAgrees(t *testing.T) {
	if *rerecord {
		record(t)
	}
	entries := readRecorded(t)
	t.Run("model", func(t *testing.T) { replay(t, nil, entries) })
	if *rerecord {
		return
	}
	for name, place := range engines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engine := place(t)(t)
			defer func() { testkit.Must(t, engine.Close()) }()
			replay(t, engine, entries)
		})
	}
}

// replay applies the log, in transactions of any size, and compares with the
// recorded digests; without an engine, to the model.
func replay(t *testing.T, engine storage.Engine, entries []shardlog.Entry) {
	want := readDigests(t)
	f := &fixture{T: t, engine: engine, spec: Students(), model: newModel(Students(), Log)}
	if engine != nil {
		f.create()
	}
	var got []checkpoint
	answers := sha256.New()
	sizes := rand.New(rand.NewPCG(13, 2))
	for at := 0; at < len(entries); {
		n := min(1+sizes.IntN(12), digestEvery-at%digestEvery, len(entries)-at)
		if sizes.IntN(4) == 0 {
			n = 1
		}
		from, part := f.model.position, entries[at:at+n]
		var done []shardlog.Results
		for _, e := range part {
			done = append(done, f.model.apply(e))
		}
		if engine != nil {
			results, err := f.store.Apply(t.Context(), from, part)
			f.must(err)
			if !reflect.DeepEqual(results, done) {
				t.Fatalf("seq %d to %d: results\n%s, want\n%s", at+1, at+n, shown(results), shown(done))
			}
		}
		for _, r := range done {
			b, err := json.Marshal(r)
			f.must(err)
			answers.Write(append(b, '\n'))
		}
		if at += n; at%digestEvery > 0 && at < len(entries) {
			continue
		}
		c := checkpoint{State: digest(t, f.model), Answers: hex.EncodeToString(answers.Sum(nil))}
		if engine != nil {
			c.State = f.digest()
		}
		got = append(got, c)
	}
	if *rerecord {
		b, err := json.MarshalIndent(got, "", "\t")
		f.must(err)
		f.must(os.WriteFile(filepath.Join("testdata", recordedDigests), append(b, '\n'), 0o600))
		return
	}
	if len(got) != len(want) {
		t.Fatalf("%d digests, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("at seq %d the replica is\n%s, want\n%s", want[i].State.Position.Seq, shown(got[i]), shown(want[i]))
		}
	}
}

func readRecorded(t *testing.T) []shardlog.Entry {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", recordedLog))
	testkit.Must(t, err)
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	testkit.Must(t, err)
	var entries []shardlog.Entry
	lines := bufio.NewScanner(unpacked)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r recorded
		testkit.Must(t, json.Unmarshal(lines.Bytes(), &r))
		batch, err := shardlog.DecodeBatch(r.Batch)
		testkit.Must(t, err)
		entries = append(entries, shardlog.Entry{Seq: uint64(len(entries)) + 1, Time: r.At, Batch: batch})
	}
	testkit.Must(t, lines.Err())
	if len(entries) != recordedBatches {
		t.Fatalf("%d batches, want %d", len(entries), recordedBatches)
	}
	return entries
}

func readDigests(t *testing.T) (all []checkpoint) {
	t.Helper()
	if *rerecord {
		return nil
	}
	b, err := os.ReadFile(filepath.Join("testdata", recordedDigests))
	testkit.Must(t, err)
	testkit.Must(t, json.Unmarshal(b, &all))
	return all
}

// record writes a log with every kind of op and of failure: duplicates, missing
// rows, keys of another shard, repeated batches, idempotency keys that come
// again with the same body and with another, markers, and times that step back
// or over what is kept.
func record(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 1))
	at := noon
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	var ids []string
	next := int64(0)
	for seq := 1; seq <= recordedBatches; seq++ {
		switch r.IntN(100) {
		case 0:
			at = at.Add(-time.Minute)
		case 1:
			at = at.Add(4 * time.Minute)
		case 2:
			if seq%20 == 0 {
				at = at.Add(7 * time.Hour)
			}
		default:
			at = at.Add(time.Duration(r.IntN(2000)) * time.Millisecond)
		}
		id := fmt.Sprintf("b%d", seq)
		if len(ids) > 20 && r.IntN(25) == 0 {
			id = ids[len(ids)-1-r.IntN(20)]
		}
		ids = append(ids, id)
		b := shardlog.Batch{ID: id, Writer: fmt.Sprintf("r%d", r.IntN(3)), Table: "StudT", Shard: "sh1"}
		onlyNew := r.IntN(2) == 0 // what most batches are
		for range 1 + r.IntN(5) {
			if onlyNew {
				var rows []rowjson.Row
				for range 1 + r.IntN(4) {
					next++
					rows = append(rows, recordedRow(r, 1000+next))
				}
				b.Ops = append(b.Ops, insert(rows...))
				continue
			}
			b.Ops = append(b.Ops, recordedOp(r))
		}
		batch, err := json.Marshal(b)
		testkit.Must(t, err)
		line, err := json.Marshal(recorded{At: at, Batch: batch})
		testkit.Must(t, err)
		_, err = w.Write(append(line, '\n'))
		testkit.Must(t, err)
	}
	testkit.Must(t, w.Close())
	testkit.Must(t, os.WriteFile(filepath.Join("testdata", recordedLog), packed.Bytes(), 0o600))
}

func recordedOp(r *rand.Rand) shardlog.Op {
	key := func() int64 { return int64(r.IntN(310)) - 5 } // some lie outside
	var op shardlog.Op
	switch r.IntN(10) {
	case 0, 1, 2:
		var rows []rowjson.Row
		for range 1 + r.IntN(3) {
			rows = append(rows, recordedRow(r, key()))
		}
		op = insert(rows...)
	case 3, 4, 5:
		op = update(recordedRow(r, key()))
	case 6, 7, 8:
		op = remove(key())
	default:
		op = shardlog.Op{Kind: []string{shardlog.OpBarrier, shardlog.OpDigest}[r.IntN(2)]}
	}
	if r.IntN(4) == 0 {
		op = with(op, fmt.Sprintf("k%d", r.IntN(150)), fmt.Sprintf("body%d", r.IntN(2)))
	}
	return op
}

func recordedRow(r *rand.Rand, key int64) rowjson.Row {
	texts := []string{"", "Ann", "Bob ", "bob", "ä", "a\u0308", "😀", "a\x00b", "'\"`\\%_", "27", "null", "x\ny"}
	numbers := []string{"0", "27", "-1.5", "0.000000000000000000000000000001", "99999999999999999999999999999999999.5", "1e3", "10.10"}
	number := func() rowjson.Value {
		v, err := rowjson.Number(numbers[r.IntN(len(numbers))])
		if err != nil {
			panic(err)
		}
		return v
	}
	text := func() rowjson.Value {
		if r.IntN(5) == 0 {
			return number()
		}
		return rowjson.Text(fmt.Sprintf("%s%d", texts[r.IntN(len(texts))], r.IntN(9)))
	}
	return rowjson.Row{rowjson.Int(key), text(), text(), number()}
}
