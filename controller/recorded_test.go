package controller

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

var (
	update = flag.Bool("update", false, "write the recorded decisions anew")
	record = flag.String("record", "", "a directory that is given the decisions of every simulated world, to compare two versions with diff -r")
)

// A recorder writes the effects that a world applies, one a line, in a form
// that depends on no Go name: who moves or renames code can compare.
type recorder struct {
	out   io.Writer
	names map[string]string // of random names, by themselves: the first is $1
}

func (r *recorder) line(now time.Time, kind string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	_, _ = fmt.Fprintf(r.out, "%s %s %s\n", now.Format("15:04:05.000"), kind, r.rename(b))
}

const (
	upper, lower = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "abcdefghijklmnopqrstuvwxyz234567"
	word         = upper + lower + "0189_"
)

// rename replaces the random names, which are the words of 26 letters of upper,
// and those of 16 of lower behind "vol-". A regexp took half of the test's time.
func (r *recorder) rename(b []byte) (renamed []byte) {
	for len(b) > 0 {
		name, isName := b[:wordLen(b)], false
		switch {
		case len(name) == 0:
			name = b[:1]
		case string(name) == "vol" && len(b) > 4 && b[3] == '-':
			volume := b[:4+wordLen(b[4:])]
			isName = len(volume) == 20 && madeOf(volume[4:], lower)
			if isName {
				name = volume
			}
		default:
			isName = len(name) == 26 && madeOf(name, upper)
		}
		b = b[len(name):]
		if isName {
			if r.names[string(name)] == "" {
				r.names[string(name)] = fmt.Sprint("$", len(r.names)+1)
			}
			name = []byte(r.names[string(name)])
		}
		renamed = append(renamed, name...)
	}
	return renamed
}

// wordLen is the length of the word that b begins with.
func wordLen(b []byte) int { return len(b) - len(bytes.TrimLeft(b, word)) }

func madeOf(b []byte, letters string) bool { return len(bytes.Trim(b, letters)) == 0 }

func (r *recorder) effect(now time.Time, e cluster.Effect) {
	outcome := func(v any, err error) map[string]any {
		if err != nil {
			v = nil
		}
		return map[string]any{"reply": v, "error": fmt.Sprint(err)}
	}
	switch e := e.(type) {
	case cluster.PutService:
		r.line(now, "put service", e.Value)
	case cluster.PutAssignment:
		r.line(now, "put assignment", e.Value)
	case cluster.PutRoute:
		r.line(now, "put route", e.Value)
	case cluster.PutTable:
		r.line(now, "put table", e.Value)
	case cluster.PutTableRoute:
		r.line(now, "put table route", e.Value)
	case cluster.Emit:
		r.line(now, "emit", e.Event)
	case cluster.Resign:
		r.line(now, "resign", e.Key)
	case cluster.Answer:
		r.line(now, "answer", outcome(e.Reply, e.Err))
	case cluster.DeleteOldLog:
		r.line(now, "clear log", []any{e.ID.Table, e.ID.Shard, e.ID.Incarnation})
	case cluster.CreateLog:
		r.line(now, "make log", []any{e.ID.Table, e.ID.Shard, e.ID.Incarnation, e.First})
	case cluster.PurgeLog:
		r.line(now, "purge log", []any{e.ID.Table, e.ID.Shard, e.ID.Incarnation, e.Below, e.MinPurge})
	case cluster.RolledBack:
		r.line(now, "rolled back", e.Why)
		r.effect(now, e.Proof)
	default:
		panic(fmt.Sprintf("BUG: no form for %T", e))
	}
}

// recordTo writes what a world decides into a file of the directory of -record.
func (w *sim) recordTo(dir string) {
	for i := 1; ; i++ {
		name := filepath.Join(dir, fmt.Sprintf("%s-%d", strings.NewReplacer("/", "_", " ", "_").Replace(w.t.Name()), i))
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if os.IsExist(err) {
			continue
		}
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { _ = f.Close() })
		w.recorder = &recorder{out: f, names: map[string]string{}}
		return
	}
}

// Decisions are functions of state and time: for each seed a world that is
// full of faults and requests sees the same effects as when they were recorded.
// After a wanted change of a decision, -update records them anew. A world takes
// seconds with the race detector: RINGWAY_LONG=1 runs all of them.
func TestDecide_RecordedDecisions(t *testing.T) {
	t.Parallel() // with the sites, which wait
	name := filepath.Join("testdata", "decisions.txt")
	recorded, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSpace(string(recorded)), "\n")
	run := want[:3]
	if *update || os.Getenv("RINGWAY_LONG") != "" {
		run = want
	}
	var got strings.Builder
	for seed, line := range run {
		sum := sha256.New()
		eventful(t, uint64(seed), sum)
		is := fmt.Sprintf("%d %x", seed, sum.Sum(nil)[:12])
		_, _ = fmt.Fprintln(&got, is)
		if is != line && !*update {
			t.Errorf("seed and hash are %q, and recorded were %q; -record DIR writes all decisions, to compare with those of another version", is, line)
		}
	}
	if *update {
		if err := os.WriteFile(name, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// eventful runs a world in which everything happens: deaths, silence, hung
// databases, elections, and requests and configurations, good and bad.
func eventful(t *testing.T, seed uint64, out io.Writer) {
	rng := rand.New(rand.NewPCG(seed, 99))
	cfg := webConfig(2 + rng.IntN(4))
	cfg.ExpectHosts = rng.IntN(2) * 3
	cfg.MinPurge, cfg.KeepTail = 40, 20
	w := newSim(t, cfg, "h1", "h2", "h3", "h4")
	if out != nil {
		files := w.recorder
		w.recorder = &recorder{out: out, names: map[string]string{}}
		if files != nil {
			w.recorder.out = io.MultiWriter(out, files.out)
		}
	}
	w.hung, w.broken = map[string]bool{}, "broken"
	w.routers["r2"] = map[string]map[string]int{}
	w.run(2 * time.Second)
	w.init(events.InitRequest{N: 3 + rng.IntN(3), Replicas: 2 + rng.IntN(2)})
	w.run(4 * time.Second)
	term := uint64(1)
	for i := range 220 {
		switch rng.IntN(26) {
		case 0:
			if rng.IntN(4) == 0 {
				term++
				w.nextLeader(term)
			}
		case 1, 2, 3: // an instance dies, or fails its probe, or recovers
			host := fmt.Sprint("h", 1+rng.IntN(4))
			for _, name := range slices.Sorted(maps.Keys(w.agents[host])) {
				if rng.IntN(3) == 0 {
					w.agents[host][name].State = []string{events.Dead, events.Dead, events.Unready, events.Ready}[rng.IntN(4)]
				}
			}
		case 4:
			w.silent[fmt.Sprint("h", 1+rng.IntN(4))] = true
		case 5:
			w.silent[fmt.Sprint("r", 1+rng.IntN(2))] = true
		case 6, 7, 8:
			clear(w.silent)
		case 9:
			if db := w.s.Tables["StudT"]; db != nil && len(db.Value.Servers) > 0 {
				name := db.Value.Servers[rng.IntN(len(db.Value.Servers))].Name
				w.muted[name] = !w.muted[name]
			}
		case 10:
			if db := w.s.Tables["StudT"]; db != nil && len(db.Value.Servers) > 0 {
				name := db.Value.Servers[rng.IntN(len(db.Value.Servers))].Name
				w.hung[name] = !w.hung[name]
			}
		case 11:
			clear(w.muted)
			clear(w.hung)
			w.slow = rng.IntN(4) == 0
		case 12, 13:
			command := []string{"app", "other", "broken", ""}[rng.IntN(4)]
			factor := 1 + rng.Float64()
			w.configure(fmt.Sprint("c", i), func(s *events.ServiceSpec) {
				s.LoadFactor, s.Command = factor, nil
				if command != "" {
					s.Command = []string{command}
				}
			})
		case 14, 15:
			w.configureTableServers(fmt.Sprint("s", i), image([]string{"new", "newer", "broken", ""}[rng.IntN(4)]))
		case 16, 17:
			w.scaleID(fmt.Sprint("add", i), true, rng.IntN(3), []string{"named"}[:rng.IntN(2)]...)
		case 18:
			w.scaleID(fmt.Sprint("rm", i), false, rng.IntN(3), []string{"named"}[:rng.IntN(2)]...)
		case 19:
			req := events.ServersRequest{ID: fmt.Sprint("as", i), N: 1, Servers: []events.Placement{{}}}
			if rng.IntN(3) == 0 {
				req.NewShards = []events.Shard{{ID: fmt.Sprint("n", i), Low: int64(i+10) * 4096, Size: 4096}}
			}
			w.addServers(req)
		case 20:
			if servers := w.db().Servers; rng.IntN(2) == 0 && len(servers) > 0 {
				w.removeServers(1, servers[rng.IntN(len(servers))].Name)
			} else {
				w.removeServers(1 + rng.IntN(2))
			}
		case 21:
			w.recoverShard(fmt.Sprint("sh", 1+rng.IntN(4)), rng.IntN(3) == 0)
		case 22:
			if replicas := w.replicas(); len(replicas) > 0 {
				w.routers["r1"]["web"] = map[string]int{replicas[rng.IntN(len(replicas))].Name: rng.IntN(2)}
			}
		case 23:
			w.recorderStatus()
		case 24:
			w.requestStatus()
		case 25: // a pause of the leader, a host that is gone for long, or a bus that went back
			switch rng.IntN(3) {
			case 0:
				w.now = w.now.Add(time.Duration(rng.IntN(12)) * time.Second)
			case 1:
				w.silent[fmt.Sprint("h", 1+rng.IntN(4))] = true
				w.run(75 * time.Second)
			case 2:
				future := events.Epoch{Incarnation: "bus", Revision: w.rev + 1000}
				w.apply(w.s.ObserveRouter(events.RouterHeartbeat{Router: "r2", Sent: w.now, Epochs: map[string]events.Epoch{"web": future}}, w.now))
				w.apply(w.s.ObserveRouter(events.RouterHeartbeat{Router: "r2", Sent: w.now, Tables: map[string]events.Epoch{"StudT": future}}, w.now))
				b := w.hostHeartbeat("h1")
				b.Assigned = future
				w.apply(w.s.ObserveHost(b, w.now))
			}
		}
		for _, key := range slices.Sorted(maps.Keys(w.logs)) {
			w.logs[key].last += uint64(rng.IntN(30))
		}
		w.step(events.HeartbeatInterval)
	}
	clear(w.silent)
	clear(w.muted)
	clear(w.hung)
	w.slow = false
	w.run(4 * time.Minute)
	w.recorderStatus()
}

// recorderStatus records all that the leader knows, as people see it.
func (w *sim) recorderStatus() { w.recorder.line(w.now, "status", status(w.s, w.now)) }
