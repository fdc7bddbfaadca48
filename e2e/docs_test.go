package e2e

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every promise in ARCHITECTURE.md names tests and files that are there.
func TestArchitectureNamesWhatIsThere(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join(root, "docs/ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	var tests bytes.Buffer
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		tests.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`\bTest\w+`).FindAllString(string(doc), -1) {
		if !bytes.Contains(tests.Bytes(), []byte("func "+name+"(")) {
			t.Errorf("ARCHITECTURE.md names %s, which is no test", name)
		}
	}
	for _, file := range regexp.MustCompile("`([\\w/]+\\.go)`").FindAllStringSubmatch(string(doc), -1) {
		if _, err := os.Stat(filepath.Join(root, file[1])); err != nil && !inSome(file[1]) {
			t.Errorf("ARCHITECTURE.md names %s, which is no file", file[1])
		}
	}
}

// inSome finds a file that is named within its package.
func inSome(name string) bool {
	found, _ := filepath.Glob(filepath.Join(root, "*", name))
	return len(found) > 0
}
