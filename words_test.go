package keytrail_test

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// houseWords are words that this code once had for things that have a name in the field, and
// these names.
var houseWords = map[string]string{
	"filing":   "flush",
	"hurry":    "a flush that is asked for",
	"lane":     "queue",
	"patience": "timeout, or a number of tries",
	"rush":     "minimum interval",
	"tallies":  "usage buffer, counts",
	"unfiled":  "buffered",
}

// TestHouseWordsAreGone finds none of them in the code, comments included.
func TestHouseWordsAreGone(t *testing.T) {
	word := regexp.MustCompile(`(?i)\b[a-z]+\b`)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		for i, line := range strings.Split(read(t, path), "\n") {
			for _, w := range word.FindAllString(line, -1) {
				if say := houseWords[strings.ToLower(w)]; say != "" {
					t.Errorf("%s:%d: %s; say %s", path, i+1, w, say)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
