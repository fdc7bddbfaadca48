package database

import (
	"fmt"
	"testing"
	"time"
)

func TestDoubts_RememberTheFirstQuestion(t *testing.T) {
	d := doubts{asked: map[string]*doubt{}}
	begun := time.Unix(1000, 0)
	at := begun
	f := func(batch string, want time.Time) {
		t.Helper()
		if got := d.since(batch, at); !got.Equal(want) {
			t.Errorf("%s after %s: asked since %s", batch, at.Sub(begun), got.Sub(begun))
		}
	}
	f("a", begun)
	at = at.Add(time.Minute)
	f("a", begun)
	full := at
	for i := range mostDoubts - 1 {
		f(fmt.Sprint(i), full)
	}
	at = at.Add(time.Minute)
	f("a", begun)
	again := at
	f("one too many", again) // in place of one that nobody asked about since
	at = at.Add(time.Minute)
	f("one too many", again)
	f("a", begun)
	if n := len(d.asked); n != mostDoubts {
		t.Errorf("it remembers %d", n)
	}
}
