package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/projections"
)

// Each sort order is measured and checked.
func TestEverySortIsAskedFor(t *testing.T) {
	for _, by := range projections.SortKeys {
		if sorts[by] == nil {
			t.Errorf("sorts lacks %s", by)
		}
		if !slices.ContainsFunc(listQuestions, func(q string) bool { return strings.Contains(q, "sort="+by) || strings.Contains(q, "sort=-"+by) }) {
			t.Errorf("no question sorts by %s", by)
		}
	}
}
