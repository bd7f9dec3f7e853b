package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// A listed is how long pages of one kind of question took, in microseconds.
type listed struct {
	Question string  `json:"question"`
	Pages    int     `json:"pages"`
	Items    float64 `json:"items_per_page"`
	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
	Max      float64 `json:"max_us"`
}

type page struct {
	Items      []shownKey `json:"items"`
	NextCursor string     `json:"next_cursor"`
}

const pageSize = 50

func (c *client) page(ctx context.Context, q url.Values) (page, error) {
	var p page
	return p, c.call(ctx, http.MethodGet, "/v1/keys?"+q.Encode(), nil, &p, http.StatusOK)
}

var sorts = []string{"created_at", "-created_at", "last_used_at", "-last_used_at", "name", "-name", "expires_at", "-expires_at"}

// A listQuestion is one kind of question to the list of keys. Its query depends on the
// turn, so that no answer comes from rows that the last turn has warmed.
type listQuestion struct {
	name  string
	query func(turn int) url.Values
}

// listQuestions are one of each sort and each filter, and some of both.
func listQuestions(p population, keys int) []listQuestion {
	var all []listQuestion
	ask := func(name string, query func(turn, i int) url.Values) {
		all = append(all, listQuestion{name, func(turn int) url.Values { return query(turn, turn*7919%keys) }})
	}
	one := func(name, value string) url.Values { return url.Values{name: {value}} }
	for _, sort := range sorts {
		ask("sort="+sort, func(int, int) url.Values { return one("sort", sort) })
	}
	ask("owner", func(_, i int) url.Values { return one("owner", ownerOf(i)) })
	ask("scope", func(int, int) url.Values { return one("scope", secondScope) })
	ask("name", func(_, i int) url.Values { return one("name", p.created(i).Name) })
	ask("name, as a prefix of many", func(_, i int) url.Values { return one("name", services[i%len(services)]) })
	ask("prefix", func(_, i int) url.Values { return one("prefix", p.created(i).Prefix) })
	ask("keyspace", func(int, int) url.Values { return one("keyspace", domain.DefaultKeyspace) })
	ask("status=active", func(int, int) url.Values { return one("status", "active") })
	ask("status=revoked", func(int, int) url.Values { return one("status", "revoked") })
	ask("created_after", func(_, i int) url.Values {
		return one("created_after", stamp(p.Begin.Add(time.Duration(i)*time.Millisecond)))
	})
	ask("last_used_before", func(int, int) url.Values { return one("last_used_before", stamp(time.Now())) })
	ask("expires_before", func(turn, _ int) url.Values {
		return one("expires_before", stamp(p.Begin.Add(time.Duration(40+turn%100)*24*time.Hour)))
	})
	ask("owner, scope, sort=name", func(_, i int) url.Values {
		return url.Values{"owner": {ownerOf(i)}, "scope": {secondScope}, "sort": {"name"}}
	})
	ask("scope, sort=-last_used_at", func(int, int) url.Values {
		return url.Values{"scope": {secondScope}, "sort": {"-last_used_at"}}
	})
	return all
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

// list measures each question's first page, and for each sort also the pages after it.
func (d *deployment) list(ctx context.Context, s *service, p population, keys, turns int) ([]listed, error) {
	c := newClient(s.address, d.root, 1)
	defer c.close()
	var all []listed
	for _, question := range listQuestions(p, keys) {
		var first, deep pages
		for turn := range turns {
			q := question.query(turn)
			q.Set("org_id", string(p.Orgs[0]))
			q.Set("limit", strconv.Itoa(pageSize))
			got, err := first.take(ctx, c, q)
			if err != nil {
				return nil, err
			}
			if turn > 0 || !q.Has("sort") {
				continue
			}
			for deep.count < turns && got.NextCursor != "" {
				q.Set("cursor", got.NextCursor)
				if got, err = deep.take(ctx, c, q); err != nil {
					return nil, err
				}
			}
		}
		all = append(all, first.listed(question.name))
		if deep.count > 0 {
			all = append(all, deep.listed(fmt.Sprintf("%s, pages 2 to %d", question.name, deep.count+1)))
		}
	}
	return all, nil
}

// pages sums up pages of one kind.
type pages struct {
	latencies    histogram
	count, items int
}

func (p *pages) take(ctx context.Context, c *client, q url.Values) (page, error) {
	asked := time.Now()
	got, err := c.page(ctx, q)
	if err != nil {
		return got, err
	}
	p.latencies.record(time.Since(asked))
	p.count++
	p.items += len(got.Items)
	return got, nil
}

func (p *pages) listed(question string) listed {
	return listed{
		Question: question, Pages: p.count, Items: float64(p.items) / float64(p.count),
		P50: micros(p.latencies.quantile(.5)), P99: micros(p.latencies.quantile(.99)), Max: micros(p.latencies.max),
	}
}
