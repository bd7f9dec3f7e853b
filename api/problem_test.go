package api

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/domain"
)

var writeErrors = flag.Bool("errors.write", false, "write docs/errors.md")

// TestErrorsAreDocumented holds docs/errors.md to the table of refusals.
func TestErrorsAreDocumented(t *testing.T) {
	file := filepath.Join("..", "docs", "errors.md")
	if *writeErrors {
		if err := os.WriteFile(file, []byte(errorsPage()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile(file)
	if err != nil || string(page) != errorsPage() {
		t.Errorf("%s is not what the refusals are now; go test ./api -run TestErrorsAreDocumented -errors.write writes it: %v", file, err)
	}
}

func errorsPage() string {
	var b strings.Builder
	b.WriteString("# Errors\n\nAn error is an RFC 9457 problem; its `code` is stable. A status tells what to do about it: 4xx, change the request;\n" +
		"429 and 503, repeat it after `Retry-After`; 500, look into the service's log. A code with several texts has a line each.\n\n" +
		"| status | code | detail |\n|---|---|---|\n")
	line := func(e *domain.Error, detail string) {
		fmt.Fprintf(&b, "| %d | `%s` | %s |\n", statuses[e.Kind], e.Code, strings.ReplaceAll(detail, "|", "\\|"))
	}
	line(domain.InvalidField("", ""), "the field or parameter at fault, and what it may hold; `errors` names each")
	all := append(domain.Refusals(), domain.ScopeMissing("…"), domain.NotAllowed(domain.UseInsufficientScope), domain.NotAllowed(domain.UseIPNotAllowed),
		domain.NotAllowed(domain.UseWrongOrganization), domain.NotAllowed(domain.UseOrgSuspended), domain.NotAllowed(domain.UseRequirementUnmet))
	slices.SortStableFunc(all, func(a, b *domain.Error) int { return statuses[a.Kind] - statuses[b.Kind] })
	for _, e := range all {
		line(e, e.Text)
	}
	fmt.Fprintf(&b, "\nAnd of HTTP itself: %d `method_not_allowed`, %d `not_acceptable`, %d `unsupported_media_type`.\n",
		http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusUnsupportedMediaType)
	return b.String()
}

// Every kind of refusal has a status of its own: none becomes 500 by accident.
func TestEveryKindHasAStatus(t *testing.T) {
	seen := map[int]bool{}
	for kind := domain.Internal; kind <= domain.Unavailable; kind++ {
		if int(kind) >= len(statuses) || statuses[kind] == 0 || seen[statuses[kind]] {
			t.Errorf("kind %d has no status of its own", kind)
			continue
		}
		seen[statuses[kind]] = true
	}
	for _, e := range domain.Refusals() {
		if e.Kind == domain.Internal && e != domain.ErrInternal {
			t.Errorf("%s is internal", e.Code)
		}
	}
}

// A gateway must be told something of each outcome on purpose: what is forgotten would look
// like an invalid key.
func TestEveryOutcomeHasAGatewayRefusal(t *testing.T) {
	for _, o := range domain.Outcomes {
		if o != domain.UseValid && gatewayRefusal(o) == error(errOtherOutcome) {
			t.Errorf("%s has no case in gatewayRefusal", o)
		}
	}
	if gatewayRefusal("NEW") != error(errOtherOutcome) {
		t.Error("an unknown outcome is not refused")
	}
}
