package api

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

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

// misreadParameter is the refusal of a query that Huma would take for another one: it takes the first
// of a parameter that is there twice, and an empty one for one that is not there. An empty moment,
// such as of a script's variable that was not set, would be the present.
func misreadParameter(r *http.Request) error {
	query := r.URL.Query()
	if query.Has("at") && query.Get("at") == "" {
		return errAt
	}
	for _, name := range slices.Sorted(maps.Keys(query)) { // the same fault is named each time
		if len(query[name]) > 1 {
			return errRepeated(name)
		}
	}
	return nil
}

// parseTimes reads the parameters from and to, each of which may be left out.
func parseTimes(v url.Values) (from, to time.Time, err error) {
	for name, at := range map[string]*time.Time{"from": &from, "to": &to} {
		if v.Has(name) {
			if *at, err = time.Parse(time.RFC3339, v.Get(name)); err != nil {
				return from, to, domain.InvalidField(name, "must be a time like 2026-01-31T12:00:00Z")
			}
		}
	}
	if v.Has("from") && v.Has("to") && !from.Before(to) {
		return from, to, domain.InvalidField("from", "must be before to")
	}
	return from, to, nil
}

func errRepeated(parameter string) error {
	return domain.InvalidField(clip(parameter), "may be given once")
}
