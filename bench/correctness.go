package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/backoff"
)

// correctness checks, before anything is measured, that what is going to be measured is the
// service and not something faster: every outcome once, and in a smoke run every listing.
func correctness(ctx context.Context, e *env) error {
	if e.smoke {
		if _, err := e.untilIdle(ctx, e.service.pid); err != nil { // uses that are still being counted move keys in a listing
			return err
		}
		for _, question := range listQuestions {
			if err := e.checkListing(ctx, e.listQuery(question, 0)); err != nil {
				return fmt.Errorf("listing by %s: %w", question, err)
			}
		}
	}
	for _, c := range outcomeCases(e.keys) {
		if err := e.checkOutcome(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	var k api.Key
	if err := e.root(ctx, http.MethodGet, "/v1/keys/"+string(keyOf(e.keys-1)), nil, &k); err != nil {
		return err
	}
	return sameKey(k, e.population.shown(e.keys-1))
}

// An outcomeCase is a question, about a key made for it or of the population, and the
// outcomes of asking it again and again.
type outcomeCase struct {
	name    string
	make    fields                                    // nil: the question has its key
	prepare func(*env, context.Context, fields) error // what is done before the key is made, and to its settings
	then    string                                    // what is done to the made key before asking
	after   func(*env, context.Context, fields) error // what is done after the key is made
	question
	want []domain.Outcome
}

func outcomeCases(keys int) []outcomeCase {
	plain, bound := fields{}, fields{"allowed_cidrs": []string{"192.0.2.0/24"}}
	limited := fields{"rate_limits": []fields{{"limit": 2, "window": "720h"}}}
	outcomes := func(all ...domain.Outcome) []domain.Outcome { return all }
	valid, unknown := outcomes(domain.UseValid), outcomes(domain.UseNotFound)
	return []outcomeCase{
		{name: "a key of the population", question: question{Key: secretOf(keys - 1).Reveal(), Scopes: []string{askedScope}}, want: valid},
		{name: "a new key", make: plain, question: question{Scopes: []string{"a:read"}}, want: valid},
		{name: "another scope", make: plain, question: question{Scopes: []string{"b:read"}}, want: outcomes(domain.UseInsufficientScope)},
		{name: "an address it may not come from", make: bound, question: question{IP: "198.51.100.7"}, want: outcomes(domain.UseIPNotAllowed)},
		{name: "an address it may come from", make: bound, question: question{IP: "192.0.2.7"}, want: valid},
		{name: "a limit of two", make: limited, want: outcomes(domain.UseValid, domain.UseValid, domain.UseRateLimited)},
		{name: "a disabled key", make: plain, then: "disable", want: outcomes(domain.UseDisabled)},
		{name: "a revoked key", make: plain, then: "revoke", want: outcomes(domain.UseRevoked)},
		{name: "an expired key", make: fields{"ttl": "1ms"}, want: outcomes(domain.UseExpired)},
		{name: "a resource of another organization", make: plain, question: question{Org: string(domain.NewOrgID("another"))}, want: outcomes(domain.UseWrongOrganization)},
		{name: "an attribute that its owner lacks", make: plain, prepare: (*env).requireAttribute, want: outcomes(domain.UseRequirementUnmet)},
		{name: "a suspended organization", make: plain, prepare: (*env).suspendOrganization, want: outcomes(domain.UseOrgSuspended)},
		{name: "a plan without programmatic access", make: plain, prepare: (*env).ownOrganization, after: (*env).forbidKeys, want: outcomes(domain.UsePlanForbids)},
		{name: "uses of the month that are used up", make: plain, prepare: (*env).ownOrganization, after: (*env).spendQuota, want: outcomes(domain.UseQuotaExceeded)},
		{name: "an unknown key", question: question{Key: secretOf(keys + 1).Reveal()}, want: unknown},
		{name: "a mistyped key", question: question{Key: secretOf(0).Reveal()[:secretLength-1]}, want: unknown},
		{name: "no key of ours", question: question{Key: "hunter2"}, want: unknown},
	}
}

func (e *env) checkOutcome(ctx context.Context, c outcomeCase) error {
	var id domain.KeyID
	if c.make != nil {
		settings := fields{"org_id": e.population.Orgs[0], "name": "outcome", "scopes": []string{"a:read"}}
		maps.Copy(settings, c.make)
		if c.prepare != nil {
			if err := c.prepare(e, ctx, settings); err != nil {
				return err
			}
		}
		made, err := e.createKey(ctx, settings)
		if err != nil {
			return err
		}
		id, c.question.Key = made.Key.ID, made.Secret
		if c.after != nil {
			if err := c.after(e, ctx, settings); err != nil {
				return err
			}
		}
		if expires := made.Key.ExpiresAt; expires != nil {
			if err := backoff.Sleep(ctx, time.Until(expires.Add(time.Millisecond))); err != nil {
				return err
			}
		}
	}
	if c.then != "" {
		if err := e.act(ctx, id, c.then); err != nil {
			return err
		}
	}
	for _, want := range c.want {
		v, _, err := e.verify(ctx, c.question)
		if err != nil {
			return err
		}
		if v.Code != want || v.Valid != (want == domain.UseValid) || id != "" && v.KeyID != id {
			return fmt.Errorf("answered %+v, want %s for %q", v, want, id)
		}
	}
	return nil
}

// requireAttribute puts the key into a keyspace that requires an attribute, which its owner lacks.
func (e *env) requireAttribute(ctx context.Context, settings fields) error {
	settings["keyspace"] = "bench-required"
	return e.root(ctx, http.MethodPut, "/v1/keyspaces/bench-required", fields{
		"format":       fields{"prefix": "benchrequired_", "alphabet": "base62", "length": 32},
		"requirements": []fields{{"attribute": "nobody_has_it"}},
	}, nil)
}

// suspendOrganization puts the key into a suspended organization.
func (e *env) suspendOrganization(ctx context.Context, settings fields) error {
	if err := e.ownOrganization(ctx, settings); err != nil {
		return err
	}
	return e.root(ctx, http.MethodPost, organizationPath(settings)+"/suspend", fields{}, nil)
}

// ownOrganization puts the key into an organization of its own.
func (e *env) ownOrganization(ctx context.Context, settings fields) error {
	var org api.Organization
	err := e.root(ctx, http.MethodPost, "/v1/organizations", fields{"name": "bench"}, &org)
	settings["org_id"] = org.ID
	return err
}

func organizationPath(settings fields) string {
	return fmt.Sprint("/v1/organizations/", settings["org_id"])
}

// forbidKeys gives the key's organization a plan without keys.
func (e *env) forbidKeys(ctx context.Context, settings fields) error {
	return e.givePlan(ctx, settings, fields{"programmatic_access": false})
}

// spendQuota gives it one without uses.
func (e *env) spendQuota(ctx context.Context, settings fields) error {
	return e.givePlan(ctx, settings, fields{"programmatic_access": true, "uses_a_month": 0})
}

func (e *env) givePlan(ctx context.Context, settings, plan fields) error {
	if err := e.root(ctx, http.MethodPut, "/v1/plans/bench", plan, nil); err != nil {
		return err
	}
	return e.root(ctx, http.MethodPatch, organizationPath(settings), fields{"plan": "bench"}, nil)
}

// sameKey compares two keys but for what the service decides by itself.
func sameKey(got, want api.Key) error {
	want.LastUsedAt, want.Revision = got.LastUsedAt, got.Revision
	shown, err1 := json.Marshal(got)
	wanted, err2 := json.Marshal(want)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if !bytes.Equal(shown, wanted) {
		return fmt.Errorf("the key is shown as %s, want %s", shown, wanted)
	}
	return nil
}

// checkListing reads a listing to its end: it is in order, all keys in it match the
// question, and each key of the population that does is in it, once.
func (e *env) checkListing(ctx context.Context, q url.Values) error {
	wanted := map[domain.KeyID]api.Key{}
	for i := range e.keys {
		if k := e.population.shown(i); matches(k, q) {
			wanted[k.ID] = k
		}
	}
	var before *api.Key
	seen := map[domain.KeyID]bool{}
	for {
		got, err := e.page(ctx, q)
		if err != nil {
			return err
		}
		for _, k := range got.Items {
			if seen[k.ID] || !matches(k, q) || before != nil && !inOrder(q.Get("sort"), *before, k) {
				return fmt.Errorf("%+v is listed after %+v", k, before)
			}
			before, seen[k.ID] = &k, true
			if want, ok := wanted[k.ID]; ok {
				delete(wanted, k.ID)
				if err := sameKey(k, want); err != nil {
					return err
				}
			}
		}
		if got.NextCursor == "" {
			break
		}
		q.Set("cursor", got.NextCursor)
	}
	if len(wanted) > 0 {
		return fmt.Errorf("%d keys are not listed", len(wanted))
	}
	return nil
}

// filters are what the parameters of a list's query ask of a key, and sorts what they sort
// by: times as text, "" for never.
var (
	filters = map[string]func(k api.Key, value string) bool{
		"org_id":        func(k api.Key, value string) bool { return string(*k.Org) == value },
		"owner":         func(k api.Key, value string) bool { return k.Owner == value },
		"scope":         func(k api.Key, value string) bool { return slices.Contains(k.Scopes, value) },
		"name":          func(k api.Key, value string) bool { return strings.HasPrefix(k.Name, value) },
		"prefix":        func(k api.Key, value string) bool { return strings.HasPrefix(k.Prefix, value) },
		"keyspace":      func(k api.Key, value string) bool { return k.Keyspace == value },
		"status":        func(k api.Key, value string) bool { return string(k.Status) == value },
		"created_after": func(k api.Key, value string) bool { return stamp(&k.CreatedAt) > value },
		"last_used_before": func(k api.Key, value string) bool {
			return k.LastUsedAt.Time() != nil && stamp(k.LastUsedAt.Time()) < value
		},
		"expires_before": func(k api.Key, value string) bool { return k.ExpiresAt != nil && stamp(k.ExpiresAt) < value },
	}
	sorts = map[string]func(api.Key) string{
		"created_at":   func(k api.Key) string { return stamp(&k.CreatedAt) },
		"last_used_at": func(k api.Key) string { return stamp(k.LastUsedAt.Time()) },
		"name":         func(k api.Key) string { return k.Name },
		"expires_at":   func(k api.Key) string { return stamp(k.ExpiresAt) },
	}
)

// stamp is a time as a query has it, in a form that sorts; "" for none.
func stamp(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

func matches(k api.Key, q url.Values) bool {
	for name := range q {
		if filter, ok := filters[name]; ok && !filter(k, q.Get(name)) {
			return false
		}
	}
	return true
}

// inOrder reports whether a may come before b. What is not set is last in both directions.
func inOrder(sort string, a, b api.Key) bool {
	by, descending := strings.CutPrefix(cmp.Or(sort, "-created_at"), "-")
	first, second := sorts[by](a), sorts[by](b)
	if first == "" || second == "" {
		return second == ""
	}
	return first == second || (first > second) == descending
}
