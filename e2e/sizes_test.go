package e2e

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Limits of what a reader has to hold at once. Tests count for the lengths and
// the names of files only.
const (
	maxFiles   = 14   // of a package
	maxLines   = 1800 // of a package
	maxMethods = 30   // of a type
	maxPrefix  = 3    // files of a package whose names begin with the same word
	maxFile    = 500  // lines of a file
)

// tooLarge are the figures of what is over a limit today. They may only
// decrease, and an entry goes when its figure is within the limit.
var tooLarge = map[string]int{}

func TestSizes(t *testing.T) {
	sizes := map[string]int{}
	limits := map[string]int{}
	set := func(limit, size int, format string, args ...any) {
		key := fmt.Sprintf(format, args...)
		sizes[key], limits[key] = size, limit
	}
	for dir, p := range sourcePackages(t) {
		set(maxFiles, p.files, "%s: files", dir)
		set(maxLines, p.lines, "%s: lines", dir)
		for name, n := range p.methods {
			set(maxMethods, n, "%s: methods of %s", dir, name)
		}
		for word, n := range prefixes(p.names) {
			set(maxPrefix, n, "%s: files named %s…", dir, word)
		}
		for name, n := range p.length {
			set(maxFile, n, "%s: lines of %s", dir, name)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(sizes)) {
		allowed, listed := tooLarge[key]
		switch size, limit := sizes[key], limits[key]; {
		case size <= limit && listed:
			t.Errorf("%q: %d is within the limit of %d: remove its entry from tooLarge", key, size, limit)
		case size > limit && !listed:
			t.Errorf("%q: %d, the limit is %d", key, size, limit)
		case size > max(limit, allowed):
			t.Errorf("%q: %d, it was %d, and may only decrease", key, size, allowed)
		}
	}
	for key := range tooLarge {
		if _, ok := sizes[key]; !ok {
			t.Errorf("%q is not there: remove its entry from tooLarge", key)
		}
	}
}

// sourcePackage is what is measured of one directory.
type sourcePackage struct {
	files, lines int            // tests left out
	methods      map[string]int // by type, tests left out
	length       map[string]int // of each file
	names        []string       // of all files
}

func sourcePackages(t *testing.T) map[string]*sourcePackage {
	t.Helper()
	found := map[string]*sourcePackage{}
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if d.IsDir() || path.Ext(name) != ".go" {
			return nil
		}
		source, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return err
		}
		p := found[path.Dir(name)]
		if p == nil {
			p = &sourcePackage{methods: map[string]int{}, length: map[string]int{}}
			found[path.Dir(name)] = p
		}
		p.names = append(p.names, d.Name())
		p.length[d.Name()] = bytes.Count(source, []byte{'\n'})
		if strings.HasSuffix(name, "_test.go") {
			return nil
		}
		p.files++
		p.lines += p.length[d.Name()]
		f, err := parser.ParseFile(token.NewFileSet(), name, source, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv != nil {
				p.methods[receiver(fn.Recv.List[0].Type)]++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// receiver is the name of a method's type.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// prefixes counts the files that begin with the same word. A word ends with the
// name or at an underscore; one of four letters or more also counts where it is
// run together with the next (table.go, tablescale.go). A file, its tests and
// its variants by operating system are one.
func prefixes(files []string) map[string]int {
	variants := []string{"_test", "_internal", "_export", "_bench", "_fuzz", "_linux", "_darwin", "_windows", "_unix", "_other", "_amd64", "_arm64"}
	stems := map[string]bool{}
	for _, name := range files {
		stem := strings.TrimSuffix(name, ".go")
		for again := true; again; {
			again = false
			for _, v := range variants {
				if short, ok := strings.CutSuffix(stem, v); ok {
					stem, again = short, true
				}
			}
		}
		stems[stem] = true
	}
	count := map[string]int{}
	for stem := range stems {
		word, _, _ := strings.Cut(stem, "_")
		count[word] = 0
	}
	for word := range count {
		for stem := range stems {
			first, _, _ := strings.Cut(stem, "_")
			if first == word || len(word) >= 4 && strings.HasPrefix(stem, word) {
				count[word]++
			}
		}
	}
	return count
}

func TestPrefixes(t *testing.T) {
	f := func(want int, word string, files ...string) {
		t.Helper()
		if got := prefixes(files)[word]; got != want {
			t.Errorf("%v: %d files begin with %q, want %d", files, got, word, want)
		}
	}
	f(3, "table", "table.go", "tablescale.go", "table_move.go", "table_test.go", "stable.go")
	f(2, "up", "up.go", "up_start.go", "up_start_linux.go", "upper.go", "up_unix_test.go")
	f(1, "log", "log.go", "logread.go")
	f(0, "table", "tablescale.go", "tablemove.go")
}
