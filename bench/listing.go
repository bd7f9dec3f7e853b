package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/domain"
)

// A listLatency is how long pages of one kind of question took.
type listLatency struct {
	Question string  `json:"question"`
	Pages    int     `json:"pages"`
	Items    float64 `json:"items_per_page"`
	percentiles
}

// listQuestions are the kinds of questions to the list of keys, by their parameters: one of
// each sort and each filter, and some of both.
var listQuestions = []string{
	"sort=created_at", "sort=-created_at", "sort=last_used_at", "sort=-last_used_at", "sort=name", "sort=-name", "sort=expires_at", "sort=-expires_at",
	"owner", "scope", "name", "name, as a prefix of many", "prefix", "keyspace", "status=active", "status=revoked",
	"created_after", "last_used_before", "expires_before", "owner, scope, sort=name", "scope, sort=-last_used_at",
}

const pageSize = 50

// listQuery is a question about the first organization. A parameter without a value takes
// that of a key, another one each time, so that no answer comes from rows that the time
// before has warmed.
func (e *env) listQuery(question string, i int) url.Values {
	key := e.population.created(i * 7919 % e.keys)
	service, _, _ := strings.Cut(key.Name, " ")
	now, expiry := time.Now(), e.population.Begin.AddDate(0, 0, 40+i%100)
	values := map[string]string{
		"owner": key.Owner, "scope": secondScope, "name": key.Name, "prefix": key.Prefix, "keyspace": domain.DefaultKeyspace,
		"created_after": stamp(&key.At), "last_used_before": stamp(&now), "expires_before": stamp(&expiry),
	}
	q := url.Values{"org_id": {string(e.population.Orgs[0])}, "limit": {strconv.Itoa(pageSize)}}
	for parameter := range strings.SplitSeq(question, ", ") {
		name, value, given := strings.Cut(parameter, "=")
		switch {
		case parameter == "as a prefix of many":
			q.Set("name", service)
		case given:
			q.Set(name, value)
		default:
			q.Set(name, values[name])
		}
	}
	return q
}

type page struct {
	Items      []api.Key `json:"items"`
	NextCursor string    `json:"next_cursor"`
}

func (e *env) page(ctx context.Context, q url.Values) (p page, err error) {
	err = e.root(ctx, http.MethodGet, "/v1/keys?"+q.Encode(), nil, &p)
	return p, err
}

// listing measures each question's first page, and for each sort also the pages after it.
func listing(ctx context.Context, e *env) error {
	for _, question := range listQuestions {
		var first, deep pages
		for i := range e.pages {
			q := e.listQuery(question, i)
			got, err := first.take(ctx, e, q)
			for i == 0 && q.Has("sort") && err == nil && got.NextCursor != "" && len(deep.latencies) < e.pages {
				q.Set("cursor", got.NextCursor)
				got, err = deep.take(ctx, e, q)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", question, err)
			}
		}
		e.report.Listing = append(e.report.Listing, first.listed(question))
		if n := len(deep.latencies); n > 0 {
			e.report.Listing = append(e.report.Listing, deep.listed(fmt.Sprintf("%s, pages 2 to %d", question, n+1)))
		}
	}
	return nil
}

// pages sums up pages of one kind.
type pages struct {
	latencies latencies
	items     int
}

func (p *pages) take(ctx context.Context, e *env, q url.Values) (page, error) {
	asked := time.Now()
	got, err := e.page(ctx, q)
	p.latencies = append(p.latencies, time.Since(asked))
	p.items += len(got.Items)
	return got, err
}

func (p *pages) listed(question string) listLatency {
	n := len(p.latencies)
	return listLatency{Question: question, Pages: n, Items: float64(p.items) / float64(n), percentiles: p.latencies.percentiles()}
}

func listingTable(r *report) string {
	t := table{
		before:  fmt.Sprintf("Listing, pages of %d, one connection, in one organization:\n", pageSize),
		columns: "| pages> | items a page> | p50 µs> | p99 µs> | max µs>",
	}
	for _, l := range r.Listing {
		t.row("%s | %d | %.1f | %.0f | %.0f | %.0f", l.Question, l.Pages, l.Items, l.P50, l.P99, l.Max)
	}
	return t.String()
}
