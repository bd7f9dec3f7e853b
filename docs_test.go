package keytrail_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var link = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)

// TestLinks follows every link of the documents to another file.
func TestLinks(t *testing.T) {
	links := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && d.Name() == "node_modules" {
			return fs.SkipDir
		}
		if err != nil || !strings.HasSuffix(path, ".md") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			links++
			if _, missing := os.Stat(filepath.Join(filepath.Dir(path), m[1])); missing != nil {
				t.Errorf("%s: %v", path, missing)
			}
		}
		return err
	})
	if err != nil || links < 20 {
		t.Errorf("%d links, %v", links, err)
	}
}

// TestDecisionsAreNumbered finds no number twice.
func TestDecisionsAreNumbered(t *testing.T) {
	files, err := os.ReadDir("docs/decisions")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	by := map[string]string{}
	for _, f := range files {
		number, _, _ := strings.Cut(f.Name(), "-")
		if other := by[number]; other != "" {
			t.Errorf("%s and %s have one number", other, f.Name())
		}
		by[number] = f.Name()
	}
}
