package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/lab/bench/load"
	"ringway/lab/bench/usage"
)

func TestSpread_PutsEveryCopyOnAnotherServer(t *testing.T) {
	for _, a := range analyses() {
		copies, lowest, highest := map[string]int{}, 1000, 0
		for _, s := range a.d.servers {
			lowest, highest = min(lowest, len(s.shards)), max(highest, len(s.shards))
			for i, id := range s.shards {
				copies[id]++
				if slices.Contains(s.shards[:i], id) {
					t.Errorf("%s: %s has %s twice", a.name, s.name, id)
				}
			}
		}
		for id, n := range copies {
			if n != a.d.replicas {
				t.Errorf("%s: %d copies of %s, want %d", a.name, n, id, a.d.replicas)
			}
		}
		if len(copies) != a.d.shards || highest-lowest > 1 {
			t.Errorf("%s: %d shards, %d to %d on a server", a.name, len(copies), lowest, highest)
		}
		if !json.Valid([]byte(a.d.payload())) {
			t.Errorf("%s: %s", a.name, a.d.payload())
		}
	}
}

func TestBodies_AreTheCourses(t *testing.T) {
	if got := string(load.WriteBody(nil, 107)); got != `{"data":[{"Stud_id":107,"Stud_name":"Student 2z","Stud_marks":6}]}` {
		t.Error(got)
	}
	if got := string(load.ReadBody(nil, 7)); got != `{"Stud_id":{"low":7,"high":7}}` {
		t.Error(got)
	}
}

func TestPretend_ReadsTheRow(t *testing.T) {
	f := func(body string, want int) {
		t.Helper()
		var ctx fasthttp.RequestCtx
		ctx.Request.SetBodyString(body)
		pretend(&ctx)
		if got := ctx.Response.StatusCode(); got != want || strings.Contains(string(ctx.Response.Body()), load.OneAdded) != (want == 200) {
			t.Errorf("%s: %d %s", body, got, ctx.Response.Body())
		}
	}
	f(string(load.WriteBody(nil, 107)), 200)
	f(`{"data":[{"Stud_id":"x","Stud_name":"","Stud_marks":6}]}`, 400)
	f(`{"data":[{"Stud_id":1,"Stud_name":"","Stud_marks":6}`, 400)
}

func TestSpreadKeys_HandsOutEachKeyOnceToAllShardsInTurn(t *testing.T) {
	keys := &spreadKeys{d: database{shards: 3, size: 4}}
	var got []int64
	for key, ok := keys.take(); ok; key, ok = keys.take() {
		got = append(got, key)
	}
	if want := []int64{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRatios_AreTakenRoundByRound(t *testing.T) {
	if got := median(ratios([]float64{2, 30, 9}, []float64{1, 10, 9})); got != 2 {
		t.Errorf("got %v", got)
	}
}

func TestUsage_FindsTheProcessesBelowOne(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("no /proc here")
	}
	cmd := exec.Command("sh", "-c", "while :; do :; done & while :; do :; done")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); _ = cmd.Wait() }()
	before := usage.Of(cmd.Process.Pid)
	look := time.NewTicker(usage.Tick)
	defer look.Stop()
	for deadline := time.Now().Add(30 * time.Second); ; <-look.C {
		used := usage.Of(cmd.Process.Pid).Since(before)
		if used["sh"] >= 4*usage.Tick && used["clients"] >= 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("used %v", used)
		}
	}
	if got := (usage.Usage{"bus": 3 * time.Millisecond, "router": 5 * time.Millisecond}).Each(100); got != "router 50, bus 30" {
		t.Error(got)
	}
}
