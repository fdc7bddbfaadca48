package logs

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"ringway/events/bus/link"
)

// numbered is a message that came as no bus sends it on demand.
type numbered struct {
	jetstream.Msg
	meta jetstream.MsgMetadata
}

func (n *numbered) Metadata() (*jetstream.MsgMetadata, error) { return &n.meta, nil }
func (n *numbered) Data() []byte                              { return nil }

// A reader waits for what is announced, so what is wrong with a fetch batch is found
// before any of it is passed on.
func TestLogReader_AnnouncesNothingThatDoesNotCome(t *testing.T) {
	f := func(consumer, stream []uint64, pending uint64, want []string, behind bool, fault error) {
		t.Helper()
		var got []string
		r := &logReader{fn: func(seq uint64, _ time.Time, _ []byte, more bool) error {
			got = append(got, fmt.Sprint(seq, " ", more))
			return nil
		}}
		r.seq.Store(10)
		var fetched []jetstream.Msg
		for i := range consumer {
			meta := jetstream.MsgMetadata{NumPending: pending}
			meta.Sequence.Consumer, meta.Sequence.Stream = consumer[i], stream[i]
			fetched = append(fetched, &numbered{meta: meta})
		}
		read := uint64(4)
		isBehind, err := r.deliver(fetched, &read)
		if !slices.Equal(got, want) || isBehind != behind || !errors.Is(err, fault) || fault == nil && err != nil {
			t.Errorf("consumer seqs %d, stream seqs %d: %q, behind %v, %v; want %q, %v, %v", consumer, stream, got, isBehind, err, want, behind, fault)
		}
		if n := uint64(len(want)); read != 4+n || r.seq.Load() != 10+n {
			t.Errorf("consumer seqs %d, stream seqs %d: now at %d and %d", consumer, stream, read, r.seq.Load())
		}
	}
	type seqs = []uint64
	f(nil, nil, 9, nil, false, nil)
	f(seqs{5, 6, 7}, seqs{11, 12, 13}, 2, []string{"11 true", "12 true", "13 false"}, false, nil)
	f(seqs{5, 6, 7}, seqs{11, 12, 13}, 3, []string{"11 true", "12 true", "13 false"}, true, nil)
	f(seqs{5, 7}, seqs{11, 13}, 0, []string{"11 false"}, false, link.ErrGap)
	f(seqs{5, 6, 7}, seqs{11, 12, 12}, 0, []string{"11 true", "12 false"}, false, link.ErrGap)
	f(seqs{5}, seqs{10}, 0, nil, false, link.ErrGap)
	f(seqs{5, 6}, seqs{11, 13}, 0, []string{"11 false"}, false, errSkipped)
	f(seqs{5}, seqs{12}, 0, nil, false, errSkipped)
}
