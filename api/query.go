package api

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/keytrail/keytrail/domain"
)

// parseQuery is a query that is well formed: one that is not would be read in part, and
// what was asked for in the rest would not be asked.
func parseQuery(r *http.Request) (url.Values, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, domain.InvalidField("query", "is malformed: percent signs and semicolons must be encoded")
	}
	return query, nil
}

// parseParameters is the query of a route that is written by hand: it has no parameters but the
// known ones, and each once, but for lists.
func parseParameters(r *http.Request, lists []string, known ...string) (url.Values, error) {
	query, err := parseQuery(r)
	for _, name := range slices.Sorted(maps.Keys(query)) {
		switch values := query[name]; {
		case slices.Contains(lists, name):
		case !slices.Contains(known, name):
			return nil, domain.InvalidField(clip(name), "is not a parameter here; they are: "+strings.Join(slices.Concat(lists, known), ", "))
		case len(values) > 1:
			return nil, errRepeated(name)
		}
	}
	return query, err
}

// repeatedParameter is the refusal of a query that has a parameter twice, of which Huma would
// take the first.
func repeatedParameter(r *http.Request) error {
	query := r.URL.Query()
	for _, name := range slices.Sorted(maps.Keys(query)) { // the same fault is named each time
		if len(query[name]) > 1 {
			return errRepeated(name)
		}
	}
	return nil
}

func errRepeated(parameter string) error {
	return domain.InvalidField(clip(parameter), "may be given once")
}
