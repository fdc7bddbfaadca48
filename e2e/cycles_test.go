package e2e

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// readDownwards are packages whose files fall in reading order: what a function
// calls is in its own file or further down, never back up.
var readDownwards = []string{"./controller/...", "./router/proxy", "./shard/replica"}

// cyclesLeft are the files that call each other in a circle today, by package.
// A circle may only lose files, and its entry goes when it is none any more.
var cyclesLeft = map[string][]string{
	"controller/leader": {"jobs.go lease.go rollback.go takeover.go term.go"},
}

func TestFilesCallDownwards(t *testing.T) {
	p := listPackages(t, readDownwards...)
	for dir := range cyclesLeft {
		if p.files[dir] == nil {
			t.Errorf("%s is not there: remove its entry from cyclesLeft", dir)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(p.files)) {
		left := slices.Clone(cyclesLeft[dir])
		for _, c := range cycles(p.calls(t, dir)) {
			names := strings.Join(c.files, " ")
			at := slices.IndexFunc(left, func(l string) bool { return isSubset(c.files, strings.Fields(l)) })
			switch {
			case at < 0:
				t.Errorf("%s: %s call each other in a circle: %s", dir, names, strings.Join(c.calls, ", "))
			case left[at] != names:
				t.Errorf("%s: of %q only %q is left of the circle: shorten its entry in cyclesLeft", dir, left[at], names)
				fallthrough
			default:
				left = slices.Delete(left, at, at+1)
			}
		}
		for _, l := range left {
			t.Errorf("%s: %s are no circle any more: remove the entry from cyclesLeft", dir, l)
		}
	}
}

func isSubset(some, all []string) bool {
	return !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(all, s) })
}

// packages are some of ours, as `go list` knows them.
type packages struct {
	files   map[string][]string // paths, by directory; tests left out
	exports map[string]string   // file of a package's types, by import path; also of all that is imported
}

func listPackages(t *testing.T, patterns ...string) packages {
	t.Helper()
	const format = `{{.ImportPath}} {{.Export}}{{if not .DepOnly}}{{$dir := .Dir}}{{range .GoFiles}} {{$dir}}/{{.}}{{end}}{{end}}`
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-export", "-deps", "-f", format}, patterns...)...)
	cmd.Dir, cmd.Stderr = root, t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	p := packages{map[string][]string{}, map[string]string{}}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		if len(words) > 1 {
			p.exports[words[0]] = words[1]
		}
		if len(words) > 2 {
			p.files[strings.TrimPrefix(words[0], "ringway/")] = words[2:]
		}
	}
	return p
}

// calls finds which functions a file uses that another one declares: names of
// functions by the two files. A method of an interface is declared nowhere.
func (p packages) calls(t *testing.T, dir string) fileCalls {
	t.Helper()
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range p.files[dir] {
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	lookup := func(path string) (io.ReadCloser, error) { return os.Open(p.exports[path]) }
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	pkg, err := (&types.Config{Importer: importer.ForCompiler(fset, "gc", lookup)}).Check("ringway/"+dir, fset, files, info)
	if err != nil {
		t.Fatal(err)
	}
	file := func(at token.Pos) string { return filepath.Base(fset.Position(at).Filename) }
	found := fileCalls{}
	for use, object := range info.Uses {
		fn, ok := object.(*types.Func)
		if !ok || fn.Pkg() != pkg || isAbstract(fn) {
			continue
		}
		if from, to := file(use.Pos()), file(fn.Origin().Pos()); from != to {
			found.add(from, to, fn.Name())
		}
	}
	return found
}

func isAbstract(fn *types.Func) bool {
	recv := fn.Signature().Recv()
	return recv != nil && types.IsInterface(recv.Type())
}

// fileCalls are names of functions by who calls them and where they are.
type fileCalls map[string]map[string][]string

func (c fileCalls) add(from, to, name string) {
	if c[from] == nil {
		c[from] = map[string][]string{}
	}
	c[from][to] = append(c[from][to], name)
}

// cycle is files of which each reaches all others.
type cycle struct {
	files []string
	calls []string // between them
}

func cycles(all fileCalls) (found []cycle) {
	reached := map[string]map[string]bool{}
	for file := range all {
		reached[file] = map[string]bool{}
		var visit func(string)
		visit = func(from string) {
			for to := range all[from] {
				if !reached[file][to] {
					reached[file][to] = true
					visit(to)
				}
			}
		}
		visit(file)
	}
	done := map[string]bool{}
	for _, file := range slices.Sorted(maps.Keys(all)) {
		if !reached[file][file] || done[file] {
			continue
		}
		var c cycle
		for _, other := range slices.Sorted(maps.Keys(reached[file])) {
			if reached[other][file] {
				c.files, done[other] = append(c.files, other), true
			}
		}
		for _, from := range c.files {
			for _, to := range c.files {
				if names := slices.Compact(slices.Sorted(slices.Values(all[from][to]))); len(names) > 0 {
					c.calls = append(c.calls, from+" calls "+strings.Join(names, " ")+" of "+to)
				}
			}
		}
		found = append(found, c)
	}
	return found
}

func TestCycles(t *testing.T) {
	f := func(want string, calls ...string) {
		t.Helper()
		all := fileCalls{}
		for _, c := range calls {
			all.add(c[:1], c[1:], "f")
		}
		var got []string
		for _, c := range cycles(all) {
			got = append(got, strings.Join(c.files, ""))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%v: circles %q, want %q", calls, got, want)
		}
	}
	f("", "ab", "ac", "bc")
	f("ab", "ab", "ba", "bc", "cd")
	f("abc", "ab", "bc", "ca", "da", "ce")
	f("ab cd", "ab", "ba", "bc", "cd", "dc")
}
