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

// persons are words for a person in a comment, where a noun says more: a caller, a client, an
// operator.
var persons = regexp.MustCompile(`(?i)//.*\b(whoever|nobody|somebody|anybody|everybody)\b`)

// TestHouseWordsAreGone finds none of the house words in the code, comments included, and none
// of persons in comments.
func TestHouseWordsAreGone(t *testing.T) {
	word := regexp.MustCompile(`(?i)\b[a-z]+\b`)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		for i, line := range strings.Split(read(t, path), "\n") {
			if m := persons.FindStringSubmatch(line); m != nil {
				t.Errorf("%s:%d: %s; say who, with a noun", path, i+1, m[1])
			}
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
