package rowcache

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// kept is what a reader finds.
func kept(g *generations, name rowName) (string, bool) {
	g.index()
	text, ok := g.append(nil, name)
	return string(text), ok
}

// The model is two maps and the rule when they are swapped.
func TestGenerations_AreTwoMaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := newGenerations(rapid.SampledFrom([]int{2 << 10, 8 << 10, 64 << 10}).Draw(t, "size"))
		young, old := map[rowName]string{}, map[rowName]string{} // "gone": it is
		used, records := 0, 0
		model := func(name rowName) (string, bool) {
			text, ok := young[name]
			if !ok {
				text, ok = old[name]
			}
			if text == "gone" {
				return "", false
			}
			return text, ok
		}
		add := func(name rowName, text string, bytes int) {
			if used+16+bytes > g.log || records == g.slots*3/4 {
				young, old, used, records = map[rowName]string{}, young, 0, 0
			}
			young[name] = text
			used, records = used+16+bytes, records+1
		}
		keys, longest := rapid.Int64Range(0, 300), rapid.SampledFrom([]int{0, 8, 40, 600}).Draw(t, "longest")
		for step := range rapid.IntRange(1, 400).Draw(t, "steps") {
			name := nameOf(rapid.Uint32Range(1, 3).Draw(t, "life"), keys.Draw(t, "key"))
			switch rapid.IntRange(0, 9).Draw(t, "do") {
			case 0:
				g.forget(name)
				add(name, "gone", 0)
			case 1, 2:
				got, ok := kept(g, name)
				if want, known := model(name); got != want || ok != known {
					t.Fatalf("%x: got %q %v, want %q %v", name, got, ok, want, known)
				}
			default:
				text := fmt.Sprint(step, strings.Repeat("x", longest))[:rapid.IntRange(0, longest).Draw(t, "length")]
				g.set(name, []byte(text))
				if len(text) > g.log/128 {
					add(name, "gone", 0)
				} else {
					add(name, text, len(text))
				}
			}
		}
		for life := range uint32(4) {
			for key := range int64(301) {
				got, ok := kept(g, nameOf(life, key))
				if want, known := model(nameOf(life, key)); got != want || ok != known {
					t.Fatalf("life %d, key %d: got %q %v, want %q %v", life, key, got, ok, want, known)
				}
			}
		}
	})
}

// Whatever is written and read, a cache takes no more than its size; rows of 40
// bytes and more fill it.
func TestGenerations_TakeTheirSize(t *testing.T) {
	const size = 1 << 20
	g := newGenerations(size)
	write := func(length, n int) {
		for key := range int64(n) {
			name := nameOf(1, key)
			g.set(name, bytes.Repeat([]byte("x"), length))
			if key%1000 == 0 {
				kept(g, name)
			}
		}
		takes := 0
		for _, one := range []*generation{&g.young, &g.old} {
			takes += cap(one.log) + 4*cap(one.slots)
		}
		if takes > size {
			t.Errorf("texts of %d bytes: takes %d bytes of %d", length, takes, size)
		}
		found := 0
		for key := range int64(n) {
			if text, ok := kept(g, nameOf(1, key)); ok {
				found += len(text) + header
			}
		}
		if length >= 40 && found < size*4/5/2 {
			t.Errorf("texts of %d bytes: %d bytes of them in %d", length, found, size)
		}
	}
	for _, length := range []int{0, 1, 10, 40, 80, 1000, 3000, 80, 0} {
		write(length, 60_000)
	}
}

func TestGenerations_NobodyReadsNoIndex(t *testing.T) {
	g := newGenerations(64 << 10)
	swaps := 0
	for key := range int64(5000) {
		before := g.young.records
		g.set(nameOf(1, key), bytes.Repeat([]byte("x"), 80))
		if g.young.records <= before {
			swaps++
		}
	}
	if swaps < 3 || g.young.slots != nil || g.old.slots != nil {
		t.Errorf("%d swaps, slots %d and %d", swaps, len(g.young.slots), len(g.old.slots))
	}
	if text, ok := kept(g, nameOf(1, 4999)); !ok || len(text) != 80 {
		t.Errorf("got %q %v", text, ok)
	}
	if g.young.slots == nil || g.old.slots == nil || !g.indexed() {
		t.Error("no index although somebody reads")
	}
}

func TestGenerations_ForgetBothOfThem(t *testing.T) {
	g := newGenerations(64 << 10)
	one := nameOf(1, 1)
	is := func(want string) {
		t.Helper()
		if got, ok := kept(g, one); got != want || ok != (want != "") {
			t.Errorf("got %q %v, want %q", got, ok, want)
		}
	}
	swap := func() { // the generations: the young become the old
		for key, was := int64(2), 0; g.young.records > was; key++ {
			was = g.young.records
			g.set(nameOf(1, key), bytes.Repeat([]byte("x"), 100))
		}
	}
	g.set(one, []byte("old"))
	swap()
	is("old")
	g.set(one, []byte("young"))
	is("young")
	g.forget(one)
	is("")
	swap() // what is forgotten is old as well
	is("")
	g.set(one, []byte("old"))
	swap()
	g.set(one, bytes.Repeat([]byte("x"), 64<<10)) // too long to keep, but not to know that the other is out of date
	is("")
	g.set(one, nil)
	if text, ok := kept(g, one); len(text) > 0 || !ok {
		t.Errorf("got %q %v, want to know that there is none", text, ok)
	}
	g.set(one, []byte("last"))
	swap()
	swap()
	is("")
	g.set(nameOf(2, 1), []byte("another life"))
	is("")
}
