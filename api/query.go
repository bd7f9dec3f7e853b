package api

import (
	"net/http"
	"net/url"

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

func repeatedParameter(r *http.Request) error {
	for name, values := range r.URL.Query() {
		if len(values) > 1 {
			return errRepeated(name)
		}
	}
	return nil
}

func errRepeated(parameter string) error {
	return domain.InvalidField(clip(parameter), "may be given once")
}
