package domain_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"

	. "github.com/keytrail/keytrail/domain"
)

// TestOutcomesHasEveryOutcome finds the constants in the source: a use with an outcome that
// the list lacks would stop the projection that counts uses.
func TestOutcomesHasEveryOutcome(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "outcome.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); ok && id.Name == "Outcome" {
			found++
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil || !slices.Contains(Outcomes[:], Outcome(text)) {
				t.Errorf("Outcomes lacks %s %v", text, err)
			}
		}
		return true
	})
	if found != len(Outcomes) {
		t.Errorf("%d outcomes are in the source, %d in the list", found, len(Outcomes))
	}
}
