package write

import (
	"fmt"
	"testing"
	"time"
)

func TestDoubts_RememberTheFirstQuestion(t *testing.T) {
	d := unknownOps{ops: map[string]*unknownOp{}}
	begun := time.Unix(1000, 0)
	at := begun
	f := func(batch string, want time.Time) {
		t.Helper()
		if got := d.firstAsked(batch, at); !got.Equal(want) {
			t.Errorf("%s after %s: ops since %s", batch, at.Sub(begun), got.Sub(begun))
		}
	}
	f("a", begun)
	at = at.Add(time.Minute)
	f("a", begun)
	full := at
	for i := range maxUnknownOps - 1 {
		f(fmt.Sprint(i), full)
	}
	at = at.Add(time.Minute)
	f("a", begun)
	again := at
	f("one too many", again) // in place of the one with the oldest last question
	at = at.Add(time.Minute)
	f("one too many", again)
	f("a", begun)
	if n := len(d.ops); n != maxUnknownOps {
		t.Errorf("it remembers %d", n)
	}
}
