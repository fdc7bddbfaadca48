package shard

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
)

func TestGenerations_KeepWhatWasSetLast(t *testing.T) {
	const room = 256 << 10
	g := newGenerations(room)
	text := func(key int64) string { return fmt.Sprintf("text %d %s", key, strings.Repeat("x", int(key%50))) }
	const n = 20_000
	for key := range int64(n) {
		g.set(rowName{1, key}, []byte(text(key)))
	}
	kept, last, bytes := 0, 0, 0
	for key := range int64(n) {
		got, ok := g.append([]byte("> "), rowName{1, key})
		if !ok {
			continue
		}
		if string(got) != "> "+text(key) {
			t.Fatalf("%d: %q", key, got)
		}
		kept, bytes = kept+1, bytes+len(got)-2
		if key >= n-600 {
			last++
		}
	}
	if last != 600 || kept == n || bytes+kept*beside > room || bytes+kept*beside < room/2 {
		t.Errorf("%d of the last 600, %d of %d in all, %d bytes", last, kept, n, bytes)
	}
	for i := range g {
		for _, gen := range []*generation{&g[i].young, &g[i].old} {
			if len(gen.text) > g[i].most || cap(gen.text) > 2*g[i].most {
				t.Errorf("a generation of %d bytes has %d, room for %d", g[i].most, len(gen.text), cap(gen.text))
			}
		}
	}
}

func TestGenerations_ForgetBothOfThem(t *testing.T) {
	g := newGenerations(64 << 10)
	one := rowName{1, 1}
	is := func(want string) {
		t.Helper()
		got, ok := g.append(nil, one)
		if string(got) != want || ok != (want != "") {
			t.Errorf("got %q %v, want %q", got, ok, want)
		}
	}
	turn := func() { // of generations: the young become the old
		s := g.segment(one)
		for key, was := int64(2), len(s.young.at); len(s.young.at) >= was; key++ {
			if g.segment(rowName{1, key}) == s {
				was = len(s.young.at)
				g.set(rowName{1, key}, bytes.Repeat([]byte("x"), 100))
			}
		}
	}
	g.set(one, []byte("old"))
	turn()
	is("old")
	g.set(one, []byte("young"))
	is("young")
	g.forget(one)
	is("")
	g.set(one, []byte("old"))
	turn()
	g.set(one, bytes.Repeat([]byte("x"), 64<<10)) // too long to keep, but not to know that the other is out of date
	is("")
	g.set(one, []byte("last"))
	turn()
	turn()
	is("")
	g.set(rowName{2, 1}, []byte("another life"))
	is("")
}

func TestGenerations_AreForMany(t *testing.T) {
	g := newGenerations(32 << 10)
	var all sync.WaitGroup
	for life := range uint32(4) {
		all.Go(func() {
			for i := range int64(5000) {
				name := rowName{life, i % 300}
				want := fmt.Sprint(life, " ", i%300)
				switch i % 3 {
				case 0:
					g.set(name, []byte(want))
				case 1:
					g.forget(rowName{life, (i + 7) % 300})
				}
				if got, ok := g.append(nil, name); ok && string(got) != want {
					t.Errorf("%v: %q", name, got)
				}
			}
		})
	}
	all.Wait()
}

func BenchmarkGenerations(b *testing.B) {
	g := newGenerations(11 << 20)
	text := bytes.Repeat([]byte("x"), 70)
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i++ {
		g.set(rowName{1, i * 7919 % (1 << 26)}, text)
	}
}
