package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"ringway/lab/bench/load"
)

// idle is a side that notes its turns, of ten ops each.
func idle(name string, turns *[]string) *side {
	left := 0
	return &side{name: name, roots: []int{os.Getpid()}, keys: func() (int64, bool) { left--; return 0, left >= 0 }, begin: load.InGoroutines(func(context.Context, int) ([]load.Worker, func(), error) {
		*turns = append(*turns, name)
		left = 10
		return []load.Worker{func(int64) error { return nil }}, func() {}, nil
	})}
}

func TestDuel_LetsAllTakeTurnsAndComparesEachWithThePeer(t *testing.T) {
	var turns []string
	p := pace{clients: []int{1, 2}, rounds: 2, warm: time.Hour, measure: time.Hour}
	got, err := duel(t.Context(), p, idle("p", &turns), idle("u", &turns), idle("t", &turns))
	if err != nil || len(got) != 3 {
		t.Fatalf("got %v, %v", got, err)
	}
	for _, s := range got {
		if len(s.rates) != 2 || s.rates[0] <= 0 || len(s.costs) != 2 || s.last.Ops != 10 {
			t.Errorf("got %+v", s)
		}
	}
	if want := strings.Fields("p u t t u p p u t p u t t u p p u t"); !slices.Equal(turns, want) {
		t.Errorf("turns %v", turns)
	}
}

func TestPlay_EndsAtAFailure(t *testing.T) {
	var turns []string
	broken := errors.New("broken")
	bad := idle("bad", &turns)
	bad.begin = func(context.Context, int) (load.Crew, error) { return nil, broken }
	_, err := pace{rounds: 1, warm: time.Hour}.play(t.Context(), 7, []*side{idle("p", &turns), bad})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "bad, 7 clients") {
		t.Errorf("got %v", err)
	}
}

// Tools read the last line: it is like for like.
func TestVerdict_EndsWithTheSocketsRatio(t *testing.T) {
	want := "over TCP: ringway/mariadb at 64 clients: 0.50\nringway/mariadb at 64 clients: 1.25\n"
	if got := verdict(pace{clients: []int{1, 64}}, []score{{rates: []float64{100}}, {rates: []float64{125}}, {rates: []float64{50}}}); got != want {
		t.Errorf("got %q", got)
	}
}

func TestGetsVerdict_EndsWithTheRatioToHAProxy(t *testing.T) {
	scores := []score{{rates: []float64{100, 50}, costs: []float64{20, 40}}, {rates: []float64{125, 100}, costs: []float64{10, 10}}, {rates: []float64{1, 1}, costs: []float64{5, 5}}}
	want := "processor time of a GET, nginx/ringway at 64 clients: 0.50 (0.50–0.50)\nprocessor time of a GET, haproxy/ringway at 64 clients: 4.00 (2.00–4.00)\nringway/haproxy at 64 clients: 2.00\n"
	if got := getsVerdict(pace{clients: []int{1, 64}}, scores); got != want {
		t.Errorf("got %q", got)
	}
}

func TestBare_ServesTheSameOnBoth(t *testing.T) {
	b, err := startBare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if u, err := url.Parse(b.http); err != nil || u.Scheme != "http" {
		t.Errorf("%s: %v", b.http, err)
	}
	for _, base := range []string{b.http, b.unix} {
		clients, err := load.HTTPClients(t.Context(), base, 2, "/write", load.WriteBody, load.OneAdded)
		if err != nil {
			t.Fatal(err)
		}
		if l, err := clients.Drive(t.Context(), each(make([]int, 10)), time.Minute); err != nil || l.Ops != 10 {
			t.Errorf("%s: %d ops, %v", base, l.Ops, err)
		}
		clients.Close()
	}
	b.stop()
	if _, err := os.Stat(b.dir); err == nil {
		t.Errorf("%s is left", b.dir)
	}
}

// TestMain plays the bare server too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == bareVerb {
		if err := bare(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}
