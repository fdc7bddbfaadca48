package controller

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"ringway/events"
)

// Whatever dies, is silent or is elected during a roll, nothing is wedged or
// doubled: a server is taken away only while the others of its shards are
// ready, and in the end all run what is configured, each on its volume.
func TestTable_RolloutSurvivesWhateverHappens(t *testing.T) {
	t.Parallel() // with the sites, which wait
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 7))
			w := withTable(t, 3+rng.IntN(4), "h1", "h2", "h3")
			w.configureTableServers("1", image("new"))
			term := uint64(1)
			for range 150 {
				emitted := len(w.emitted)
				switch rng.IntN(24) {
				case 0:
					term++
					w.nextLeader(term)
				case 1, 2:
					srv := w.db().Servers[rng.IntN(len(w.db().Servers))]
					if i := w.agents[srv.Host][srv.Name]; i != nil {
						i.State = events.Dead
					}
				case 3:
					w.silent[fmt.Sprint("h", 1+rng.IntN(3))] = true
				case 4, 5, 6:
					clear(w.silent)
				case 7:
					srv := w.db().Servers[rng.IntN(len(w.db().Servers))]
					w.muted[srv.Name] = !w.muted[srv.Name]
				case 8:
					w.configureTableServers(fmt.Sprint("c", w.rev), image([]string{"new", "newer", ""}[rng.IntN(3)]))
				}
				w.write("sh1", 1)
				served := w.able()
				w.step(events.HeartbeatInterval)
				w.wantOrder(emitted, served)
			}
			clear(w.silent)
			clear(w.muted)
			w.run(4 * time.Minute)
			w.wantAllReady()
			w.configureTableServers("last", image("last"))
			w.roll(2 * time.Minute)
			w.wantImages("last")
			w.wantAllReady()
			if db := w.db(); db.Before != nil || db.Stuck != "" {
				t.Errorf("all is done, and there is left: %+v", db)
			}
			for host, instances := range w.agents {
				for name := range instances {
					if i := instances[name]; i.Kind == events.KindShard && w.server(name).Host != host {
						t.Errorf("%s runs on %s as well", name, host)
					}
				}
			}
		})
	}
}

// able lists the servers that can serve all that they keep, and say so.
func (w *sim) able() map[string]bool {
	found := map[string]bool{}
	for _, srv := range w.db().Servers {
		i := w.agents[srv.Host][srv.Name]
		can := i != nil && i.State == events.Ready && !w.muted[srv.Name] && !w.silent[srv.Host]
		for _, shard := range srv.Shards {
			at := w.volumes[srv.Volume]["StudT."+shard]
			can = can && at != nil && at.State == events.ReplicaReady
		}
		found[srv.Name] = can
	}
	return found
}

// wantOrder wants one server at a time to be renewed, and none that served to
// be stopped for it while another replica of its shards is not ready.
func (w *sim) wantOrder(since int, served map[string]bool) {
	w.t.Helper()
	n := 0
	for _, srv := range w.db().Servers {
		if srv.Renewal != nil && w.db().Stuck == "" {
			n++
		}
	}
	if n > 1 {
		w.t.Fatalf("%d servers are renewed at once: %+v", n, w.db().Servers)
	}
	for _, e := range w.emitted[since:] {
		if e.Entity != events.EntityInstance || e.Verb != events.VerbRemoved || !strings.Contains(string(e.Data), "started anew") || !served[e.About] || w.db().Stuck != "" {
			continue
		}
		for _, sh := range w.table().Shards {
			if !slices.ContainsFunc(sh.Replicas, func(r events.ShardReplica) bool { return r.Server == e.About }) {
				continue
			}
			for _, r := range sh.Replicas {
				if r.Server != e.About && !r.Ready {
					w.t.Fatalf("%s was stopped while %s of %s is not ready", e.About, r.Server, sh.Shard)
				}
			}
		}
	}
}
