package e2e

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the directory of the repository, as tests of this package see it.
const root = ".."

// rules list which of Ringway's packages a package may import, and why. The
// longest matching prefix decides. Tests are free.
var rules = []struct {
	pkg, why string
	may      []string // of our own packages, with what lies below them
	third    []string // of other modules; nil: any but the reserved ones
}{
	{".", "the program is what the composition root makes of it", []string{"app"}, []string{}},
	{"events", "the contract has no opinion on how it is carried", nil, []string{}},
	{"events/rowjson", "rows are JSON alike, whoever reads and writes them", nil, []string{}},
	{"events/specs", "assignments are stored alike, whoever writes them", nil, []string{}},
	{"events/size", "what can be stored is counted alike, whoever asks", nil, []string{}},
	{"events/strictjson", "what people send is read alike, whoever reads it", []string{"events"}, []string{}},
	{"events/shardlog", "what a log holds is part of the contract", []string{"events"}, []string{}},
	{"events/cloudevent", "how events are carried is the same over any bus", []string{"events"}, []string{}},
	{"events/streams", "what is known of the streams of a bus is the same over any bus", nil, []string{}},
	{"events/shardapi", "what shard servers answer is part of the contract", []string{"events", "events/shardlog"}, []string{}},
	{"events/bus", "the bus is one adapter, with what lies below it", []string{"events"}, []string{"github.com/nats-io/", "golang.org/x/sync", "golang.org/x/sys"}},
	{"events/follow", "following the newest value is the same for whoever does", []string{"events"}, []string{}},
	{"events/oplog", "writing to a log is the same over any bus", []string{"events"}, []string{}},
	{"router/ring", "slot tables are pure", nil, []string{}},
	{"router/ring/formula", "expressions are an adapter of the ring's functions", []string{"router/ring"}, []string{"github.com/expr-lang/expr"}},
	{"router/upstream", "connections carry requests and know nothing of who answers", nil, []string{"github.com/valyala/fasthttp"}},
	{"router/answer", "what routers answer themselves depends on nobody", nil, []string{"github.com/valyala/fasthttp"}},
	{"router/routes", "which of the stored routes is served is the same for services and tables", []string{"events"}, []string{"github.com/prometheus/"}},
	{"router/edge", "the side towards clients does not know who answers them", []string{"events", "router/answer", "router/upstream"}, []string{"github.com/valyala/fasthttp"}},
	{"router/proxy", "forwarding knows members and no tables", []string{"events", "router/answer", "router/edge", "router/ring", "router/routes", "router/upstream"}, nil},
	{"router/assignment", "the assignment API hands what concerns tables to the database", []string{"events", "router/answer", "router/database"}, []string{"github.com/valyala/fasthttp"}},
	{"router/database/background", "work that outlives its request is the same for reads and writes", nil, []string{}},
	{"router/database/hedge", "asking another one when one takes long is the same for whomever", nil, []string{}},
	{"router/database/api", "bodies and errors of requests know the contract", []string{"events", "router/answer"}, []string{"github.com/valyala/fasthttp"}},
	{"router/database/shardclient", "a client of one shard server knows its API and no table", []string{"events", "router/database/background", "router/upstream"}, []string{"github.com/valyala/fasthttp"}},
	{"router/database/catalog", "what is known of tables knows neither reads nor writes", []string{"events", "router/database/api", "router/database/background", "router/database/shardclient", "router/ring", "router/routes"}, []string{"github.com/prometheus/"}},
	{"router/database/read", "reads need no log; a barrier is handed to them", []string{"events", "router/answer", "router/database/api", "router/database/background", "router/database/catalog", "router/database/hedge", "router/database/shardclient", "router/edge"}, nil},
	{"router/database/write", "writes know how to write to a log, and nothing of reads", []string{"events", "events/oplog", "router/answer", "router/database/api", "router/database/background", "router/database/catalog", "router/database/hedge"}, nil},
	{"router", "the data plane knows the contract and its tables, and by design how to write to a log", []string{"events", "events/oplog", "router/ring"}, nil},
	{"controller", "a plan puts the steps of services and tables in order, for a leader that carries them out", []string{"events"}, []string{}},
	{"controller/cluster", "what is known of a cluster, and the effects, know no decision and no bus", []string{"events"}, []string{}},
	{"controller/leader", "a leader carries out effects, whatever plan decides them", []string{"events", "controller/cluster"}, []string{}},
	{"controller/services", "decisions about services know, by design, how slots are assigned, and nothing of tables' decisions", []string{"events", "controller/cluster", "router/ring"}, []string{}},
	{"controller/tables", "decisions about tables know nothing of services' decisions", []string{"events", "controller/cluster"}, []string{}},
	{"controller/tables/placement", "where volumes lie is decided from what is known", []string{"events", "controller/cluster"}, []string{}},
	{"controller/tables/rollout", "a restart knows when a shard server counts as failed", []string{"events", "controller/cluster", "controller/tables/placement"}, []string{}},
	{"controller/tables/route", "routes follow from what is known", []string{"events", "controller/cluster"}, []string{}},
	{"agent/lifeline", "every process may hold a lifeline", nil, []string{}},
	{"agent/process", "a runtime", []string{"events", "agent"}, nil},
	{"agent/docker", "a runtime", []string{"events", "agent"}, nil},
	{"agent/sample", "the sample replica stands for anybody's program", []string{}, []string{"github.com/valyala/fasthttp"}},
	{"agent/docker/dockertest", "tests of containers start them on one engine alike", []string{"agent/docker", "agent/runtimetest"}, []string{"github.com/docker/", "go.uber.org/goleak"}},
	{"agent/runtimetest", "stand-ins hold their processes as ours do; the suite itself is tests, of all runtimes", []string{"events", "agent", "agent/process"}, []string{}},
	{"agent", "an agent knows the contract; runtimes are handed to it", []string{"events", "agent/lifeline"}, nil},
	{"shard/state", "what becomes of a log is pure: every replica decides it alike", []string{"events"}, []string{}},
	{"shard/mysql/mysqld", "a supervisor keeps a server running and knows nothing of what is in it", []string{"events"}, []string{"github.com/go-sql-driver/"}},
	{"shard/mysql/mysqldtest", "tests of any package start their database server alike", []string{"internal/testkit", "shard/mysql/mysqld"}, []string{}},
	{"shard/storage", "what is asked of an engine does not depend on any", []string{"events"}, []string{}},
	{"shard/rowcache", "rows in memory are the same whatever engine has them", []string{"events"}, []string{}},
	{"shard/apply", "an applier moves a store along a log, whatever engine and bus these are of", []string{"events", "shard/storage"}, []string{}},
	{"shard/sqlstore", "a replica in tables is the same for every SQL database", []string{"events", "shard/state", "shard/storage"}, []string{}},
	{"shard/mysql", "a store", []string{"events", "shard/sqlstore", "shard/state", "shard/storage"}, []string{"github.com/go-sql-driver/"}},
	{"shard/sqlite", "a store", []string{"events", "shard/sqlstore", "shard/state", "shard/storage"}, []string{"modernc.org/sqlite"}},
	{"shard/storetest", "what tests of one engine stand on knows no engine; the suite itself is tests, of all engines", []string{"events", "shard/state", "shard/storage"}, []string{}},
	{"shard/volume", "a volume knows which engines there are, so that the shard server need not", []string{"shard/mysql", "shard/mysql/mysqld", "shard/sqlite", "shard/storage"}, []string{}},
	{"shard/replica", "a manager knows what the route wants of its replica, and not who reads it", []string{"events", "shard/apply", "shard/rowcache", "shard/state", "shard/storage"}, []string{"golang.org/x/sync"}},
	{"shard", "a shard server knows the contract, its replicas and, by design, how to write to a log and how to serve clients; engines are handed to it", []string{"events", "events/oplog", "router/edge", "shard/replica", "shard/rowcache", "shard/storage"}, nil},
	{"compose", "a helper beside the program: it calls Docker's tools and reads what the leader reports", []string{"events"}, []string{}},
	{"e2e", "tests of whole clusters are tests, and nothing else", []string{}, []string{}},
	{"e2e/check", "checkers judge histories, whoever recorded them", nil, []string{"github.com/anishathalye/porcupine"}},
	{"internal/testkit", "tests of any package stand on it, so it stands on little", []string{"events", "events/bus", "events/bus/server"}, []string{}},
	{"internal", "what every role needs and none owns knows no role; any package may import it", []string{"internal"}, []string{}},
	{"cli", "what people type knows no role, only how to start one", []string{"events", "agent/lifeline", "router/ring", "cli"}, nil},
}

// forTests are what tests stand on: no binary has them in it.
var forTests = []string{"e2e/check", "internal/testkit", "agent/docker/dockertest", "agent/runtimetest", "shard/mysql/mysqldtest", "shard/storetest"}

// reserved libraries belong to one adapter.
var reserved = map[string]string{
	"github.com/nats-io/":         "events/bus",
	"github.com/docker/":          "agent/docker",
	"github.com/go-sql-driver/":   "shard/mysql",
	"modernc.org/sqlite":          "shard/sqlite",
	"github.com/expr-lang/expr":   "router/ring/formula",
	"github.com/valyala/fasthttp": "router", // and those in speaksHTTP
}

// speaksHTTP are the servers beside the router.
var speaksHTTP = []string{"agent/sample", "shard"}

func TestImportsPointAtEvents(t *testing.T) {
	for pkg, imports := range imports(t) {
		for _, imp := range imports {
			if own, _ := strings.CutPrefix(imp, "ringway/"); slices.Contains(forTests, own) && !slices.Contains(forTests, pkg) {
				t.Errorf("%s imports %s, which is for tests", pkg, own)
			}
		}
		if pkg == "app" || strings.HasPrefix(pkg, "lab/") {
			continue // the composition root sees everything; the lab is outside
		}
		rule := -1
		for i, r := range rules {
			if within(pkg, r.pkg) && (rule < 0 || len(r.pkg) > len(rules[rule].pkg)) {
				rule = i
			}
		}
		if rule < 0 {
			t.Errorf("package %s has no rule; add what it may import, and why", pkg)
			continue
		}
		r := rules[rule]
		for _, imp := range imports {
			own, ours := strings.CutPrefix(imp, "ringway/")
			third := strings.Contains(strings.Split(imp, "/")[0], ".")
			switch {
			case ours && within(own, "internal"): // for all
			case ours && !within(own, r.pkg) && !slices.ContainsFunc(r.may, func(m string) bool { return within(own, m) && !isAdapter(own) || own == m }):
				t.Errorf("%s imports %s, but %s", pkg, own, r.why)
			case third && r.third != nil && !slices.ContainsFunc(r.third, func(m string) bool { return strings.HasPrefix(imp, m) }):
				t.Errorf("%s imports %s, but %s", pkg, imp, r.why)
			}
			for lib, home := range reserved {
				if strings.HasPrefix(imp, lib) && !within(pkg, home) && (lib != "github.com/valyala/fasthttp" || !slices.Contains(speaksHTTP, pkg)) {
					t.Errorf("%s imports %s, which only %s may", pkg, imp, home)
				}
			}
		}
	}
}

// The table of packages in docs/ARCHITECTURE.md is complete. Packages of one row
// import each other, and what lies below a package and has no row of its own
// belongs to it.
func TestPackagesAreAsDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile("`([a-z/]+)`")
	names := func(cell string) (all []string) {
		for _, m := range code.FindAllStringSubmatch(cell, -1) {
			all = append(all, m[1])
		}
		return all
	}
	rows := map[string][]string{}       // the packages of its row, by each of them
	documented := map[string][]string{} // what it imports
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if row := names(cells[min(1, len(cells)-1)]); len(cells) == 5 && len(row) > 0 {
			for _, pkg := range row {
				rows[pkg], documented[pkg] = row, strings.Split(strings.TrimSpace(cells[3]), ", ")
			}
		}
	}
	home := func(pkg string) string {
		for rows[pkg] == nil && pkg != "." {
			pkg = path.Dir(pkg)
		}
		return pkg
	}
	found := map[string][]string{}
	for pkg, imports := range imports(t) {
		at := home(pkg)
		if at == "." || at == "app" || at == "lab" || slices.Contains(forTests, pkg) && rows[pkg] == nil {
			continue
		}
		for _, imp := range imports {
			if own, ours := strings.CutPrefix(imp, "ringway/"); ours && !slices.Contains(rows[at], home(own)) && !within(own, "internal") {
				found[rows[at][0]] = append(found[rows[at][0]], home(own))
			}
		}
	}
	for pkg, row := range rows {
		if pkg != row[0] || pkg == "app" || pkg == "lab" {
			continue
		}
		actual := slices.Compact(slices.Sorted(slices.Values(found[pkg])))
		var want []string
		for _, name := range documented[pkg] { // or something else in words
			if name = nearest(rows, pkg, name); rows[name] != nil {
				want = append(want, name)
			}
		}
		if slices.Sort(want); !slices.Equal(actual, want) {
			t.Errorf("%s imports %q, and is documented to import %q", pkg, actual, want)
		}
	}
}

// nearest is the package that a name in the row of another means: one below that,
// or below the nearest of those that it lies in.
func nearest(rows map[string][]string, from, name string) string {
	for dir := from; dir != "."; dir = path.Dir(dir) {
		if below := dir + "/" + name; rows[below] != nil {
			return below
		}
	}
	return name
}

// isAdapter packages are imported only where a rule names them.
func isAdapter(pkg string) bool {
	return within(pkg, "events/bus") || slices.Contains([]string{"events/oplog", "agent/process", "agent/docker", "shard/mysql", "shard/sqlite"}, pkg)
}

func within(pkg, prefix string) bool { return pkg == prefix || strings.HasPrefix(pkg, prefix+"/") }

// imports lists what each package imports, its tests left out.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if _, err := os.Stat(filepath.Join(root, name, "go.mod")); name != "." && (err == nil || strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, name), nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		pkg := path.Dir(name)
		for _, i := range f.Imports {
			found[pkg] = append(found[pkg], strings.Trim(i.Path.Value, `"`))
		}
		if found[pkg] == nil {
			found[pkg] = []string{}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
