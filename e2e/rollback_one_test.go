package e2e

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ringway/e2e/check"
	"ringway/events"
	"ringway/events/shardapi"
)

// volumes are the data directories of the shard servers that run, by server.
func (d *faultDB) volumes() map[string]string {
	d.t.Helper()
	dirs := map[string]string{}
	for _, p := range processesOf(d.id) {
		words := strings.Fields(p)
		if len(words) < 3 || words[2] != "shard" {
			continue
		}
		dirs[wordAfter(words, "--id")] = wordAfter(words, "--data")
	}
	if len(dirs) != dbServers {
		d.t.Fatalf("volumes of %d servers: %v", dbServers, dirs)
	}
	return dirs
}

func wordAfter(words []string, flag string) string {
	if i := slices.Index(words, flag); i >= 0 && i+1 < len(words) {
		return words[i+1]
	}
	return ""
}

// backup is what directories held at one moment.
type backup struct {
	t      *testing.T
	copies map[string]string // by directory
}

// backUp copies directories that nobody writes to.
func backUp(t *testing.T, dirs ...string) *backup {
	t.Helper()
	b, into := &backup{t, map[string]string{}}, t.TempDir()
	for i, dir := range dirs {
		b.copies[dir] = filepath.Join(into, strconv.Itoa(i))
		copyTree(t, b.copies[dir], dir)
	}
	return b
}

// restore puts directories back as they were.
func (b *backup) restore(dirs ...string) {
	b.t.Helper()
	for _, dir := range dirs {
		if err := os.RemoveAll(dir); err != nil {
			b.t.Fatal(err)
		}
		copyTree(b.t, dir, b.copies[dir])
	}
}

func copyTree(t *testing.T, to, from string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// quarantinedRows reads the rows of all replicas that were quarantined in a volume, by
// shard.
func quarantinedRows(t *testing.T, volume string) map[string][]check.Row {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(volume, "aside", "*"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]check.Row{}
	for _, name := range files {
		shard := strings.Split(filepath.Base(name), ".")[1]
		found[shard] = append(found[shard], rowsOfQuarantine(t, name)...)
	}
	return found
}

func rowsOfQuarantine(t *testing.T, name string) (rows []check.Row) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	packed, err := gzip.NewReader(f)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	lines := bufio.NewScanner(packed)
	lines.Buffer(nil, 1<<20)
	for n := 0; lines.Scan(); n++ {
		line := lines.Bytes()
		if n == 0 || line[0] == shardapi.End {
			continue
		}
		item, err := shardapi.DecodeCopyItem(line)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if item.Row != nil {
			rows = append(rows, check.Row{Key: item.Row.Key(), Value: item.Row[2].Raw()})
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return rows
}

// keptInQuarantine demands that what one server held of writes when it was quarantined
// lies in quarantine.
func keptInQuarantine(t *testing.T, writes []check.Write, server, volume string, found map[int][]check.Replica) {
	t.Helper()
	quarantined := quarantinedRows(t, volume)
	for i := range dbShards {
		has := slices.ContainsFunc(found[i], func(r check.Replica) bool { return r.Name == shardName(i)+" on "+server })
		rows, lost, first := map[check.Row]bool{}, 0, int64(0)
		for _, row := range quarantined[shardName(i)] {
			rows[row] = true
		}
		if has == (len(rows) == 0) {
			t.Errorf("%s keeps %s: %t, and has %d rows of it in quarantine", server, shardName(i), has, len(rows))
		}
		for _, w := range writes {
			if has && shardOf(w.Key) == i && w.Outcome == check.Acknowledged && !rows[check.Row{Key: w.Key, Value: w.Value}] {
				lost, first = lost+1, w.Key
			}
		}
		if lost > 0 {
			t.Errorf("%d rows of %s, one is %d, were on %s alone and are not among the %d in quarantine", lost, shardName(i), first, server, len(rows))
		}
	}
	files, _ := filepath.Glob(filepath.Join(volume, "aside", "*"))
	t.Logf("%d replicas of %s were quarantined", len(files), server)
}

// awaitShardEvents waits for an event of every shard that one server keeps.
func (d *faultDB) awaitShardEvents(verb, server string, found map[int][]check.Replica) {
	d.t.Helper()
	eventually(d.t, 20*time.Second, func() error {
		out, errs, exit := d.run("events", "-o", "json")
		if exit != 0 {
			return fmt.Errorf("events: exit %d: %s", exit, errs)
		}
		for i := range dbShards {
			if !slices.ContainsFunc(found[i], func(r check.Replica) bool { return r.Name == shardName(i)+" on "+server }) {
				continue
			}
			if !slices.ContainsFunc(strings.Split(out, "\n"), func(line string) bool {
				return strings.Contains(line, `"`+verb+`"`) && strings.Contains(line, events.DefaultTable+"."+shardName(i)) && strings.Contains(line, server)
			}) {
				return fmt.Errorf("there is no event that %s is %s on %s", shardName(i), verb, server)
			}
		}
		return nil
	})
}

// The logs and all servers but one are put back from a backup. The one has
// more than its logs: what it holds is quarantined, and it
// becomes what the others are, which lose nothing by it.
func TestDB_OneReplicaThatIsAheadOfItsLogIsRebuilt(t *testing.T) {
	t.Parallel()
	const ahead = "Server0"
	f := func(engine string, outgrown bool) {
		name := engine + ", beyond the log's end"
		if outgrown {
			name = engine + ", outgrown by the log"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := startDatabase(t, dbOptions{engine: engine})
			url := func() string { return d.http }
			set, gone := &setWriters{client: newDBClient(url)}, &setWriters{client: newDBClient(url)}
			gone.startAt(dbShardSize / 2) // other keys than those of set
			set.writeFor(time.Second)
			d.settled()
			volumes := d.volumes()
			d.stop()
			dirs := logsOf(t, d.data)
			for _, dir := range volumes {
				dirs = append(dirs, dir)
			}
			older := backUp(t, dirs...)
			d.boot(t)
			gone.writeFor(300 * time.Millisecond)
			d.settled()
			d.stop()
			newer := backUp(t, volumes[ahead])
			older.restore(dirs...)
			if outgrown {
				d.boot(t)
				set.writeFor(2 * time.Second)
				d.settled()
				d.stop()
			}
			newer.restore(volumes[ahead])
			d.boot(t)
			set.writeFor(time.Second)
			found := d.settled()
			report(t, set.check(t, found, nil))
			keptInQuarantine(t, gone.all(), ahead, volumes[ahead], found)
			d.awaitShardEvents(events.VerbQuarantined, ahead, found)
		})
	}
	f("sqlite", false)
	f("mysql", false)
	if long() {
		f("sqlite", true)
	}
}

// One server is put back to what it was before its shards were recovered. The
// new logs do not begin with what it holds, so it becomes what the others are.
func TestDB_OneReplicaFromBeforeARecoveryIsRebuilt(t *testing.T) {
	t.Parallel()
	const late = "Server1"
	f := func(engine string) {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			d := startDatabase(t, dbOptions{engine: engine})
			set := &setWriters{client: newDBClient(func() string { return d.http })}
			set.writeFor(time.Second)
			d.settled()
			first := set.all()
			volumes := d.volumes()
			d.stop()
			logs := logsOf(t, d.data)
			older := backUp(t, append(logs, volumes[late])...)
			d.boot(t)
			set.writeFor(300 * time.Millisecond)
			d.settled()
			d.stop()
			older.restore(logs...)
			d.begin(t) // it is ready when the shards are recovered, or have waited for that for long
			d.recoverAll()
			d.ready()
			set.writeFor(time.Second)
			d.settled()
			d.stop()
			older.restore(volumes[late])
			d.boot(t)
			set.writeFor(time.Second)
			found := d.settled()
			report(t, set.check(t, found, nil))
			keptInQuarantine(t, first, late, volumes[late], found)
			d.awaitShardEvents(events.VerbQuarantined, late, found)
		})
	}
	f("sqlite")
	if long() {
		f("mysql")
	}
}
