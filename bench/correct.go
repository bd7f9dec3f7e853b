package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// correct checks, before anything is measured, that what is going to be measured is the
// service and not something faster: every outcome once, and in a smoke run every key.
func (r *run) correct(ctx context.Context, d *deployment, s *service, p population, keys int) error {
	root, verifier := newClient(s.address, d.root, 1), newClient(s.address, d.verifier.Secret, 1)
	defer root.close()
	defer verifier.close()
	for _, c := range outcomeCases(p, keys) {
		if err := d.checkOutcome(ctx, root, verifier, c); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	if err := checkKey(ctx, root, p, keys-1); err != nil {
		return err
	}
	if !r.smoke {
		return nil
	}
	for _, sort := range sorts {
		if err := checkWalk(ctx, root, p, keys, sort); err != nil {
			return fmt.Errorf("sort=%s: %w", sort, err)
		}
	}
	return checkFilters(ctx, root, p, keys)
}

// An outcomeCase is a question, about a key made for it or of the population, and the
// outcomes of asking it again and again.
type outcomeCase struct {
	name string
	make *newKey // nil: the question has its key
	then string  // what is done to the made key before asking
	question
	want []domain.Outcome
}

func outcomeCases(p population, keys int) []outcomeCase {
	org := string(p.Orgs[0])
	plain := func() *newKey { return &newKey{OrgID: org, Name: "outcome", Scopes: []string{"a:read"}} }
	limited, bound := plain(), plain()
	limited.RateLimits = []rateLimit{{Limit: 2, Window: "720h"}}
	bound.AllowedCIDRs = []string{"192.0.2.0/24"}
	valid, unknown := []domain.Outcome{domain.UseValid}, []domain.Outcome{domain.UseNotFound}
	return []outcomeCase{
		{name: "a key of the population", question: question{Key: secretOf(keys - 1).Reveal(), Scopes: []string{askedScope}}, want: valid},
		{name: "a new key", make: plain(), question: question{Scopes: []string{"a:read"}}, want: valid},
		{name: "another scope", make: plain(), question: question{Scopes: []string{"b:read"}}, want: []domain.Outcome{domain.UseInsufficientScope}},
		{name: "an address it may not come from", make: bound, question: question{IP: "198.51.100.7"}, want: []domain.Outcome{domain.UseIPNotAllowed}},
		{name: "an address it may come from", make: bound, question: question{IP: "192.0.2.7"}, want: valid},
		{name: "a limit of two", make: limited, want: []domain.Outcome{domain.UseValid, domain.UseValid, domain.UseRateLimited}},
		{name: "a disabled key", make: plain(), then: "disable", want: []domain.Outcome{domain.UseDisabled}},
		{name: "a revoked key", make: plain(), then: "revoke", want: []domain.Outcome{domain.UseRevoked}},
		{name: "a key that nobody has", question: question{Key: secretOf(keys + 1).Reveal()}, want: unknown},
		{name: "a mistyped key", question: question{Key: secretOf(0).Reveal()[:secretLength-1]}, want: unknown},
		{name: "no key of ours", question: question{Key: "hunter2"}, want: unknown},
	}
}

func (d *deployment) checkOutcome(ctx context.Context, root, verifier *client, c outcomeCase) error {
	id := ""
	if c.make != nil {
		made, err := root.create(ctx, *c.make)
		if err != nil {
			return err
		}
		id, c.question.Key = made.Key.ID, made.Secret
	}
	if c.then != "" {
		if err := root.act(ctx, id, c.then, map[string]string{}); err != nil {
			return err
		}
	}
	for _, want := range c.want {
		v, err := d.verify(ctx, verifier, c.question)
		if err != nil {
			return err
		}
		if v.Code != string(want) || v.Valid != (want == domain.UseValid) || id != "" && v.KeyID != id {
			return fmt.Errorf("answered %+v, want %s for %q", v, want, id)
		}
	}
	return nil
}

func checkKey(ctx context.Context, root *client, p population, i int) error {
	var k shownKey
	if err := root.call(ctx, http.MethodGet, "/v1/keys/"+string(keyOf(i)), nil, &k, http.StatusOK); err != nil {
		return err
	}
	return sameKey(k, p.created(i))
}

func sameKey(k shownKey, e domain.KeyCreated) error {
	var expires time.Time
	if k.ExpiresAt != nil {
		expires = *k.ExpiresAt
	}
	same := k.ID == string(e.ID) && k.OrgID == string(e.Org) && k.Name == e.Name && k.Owner == e.Owner && k.Prefix == e.Prefix &&
		slices.Equal(k.Scopes, e.Scopes) && k.CreatedAt.Equal(e.At) && expires.Equal(e.ExpiresAt) && k.Metadata["team"] == e.Metadata["team"]
	if !same {
		return fmt.Errorf("the key is shown as %+v and began as %+v", k, e)
	}
	return nil
}

// walk reads a listing of one organization to its end.
func walk(ctx context.Context, root *client, q url.Values, each func(shownKey) error) error {
	q.Set("limit", strconv.Itoa(pageSize))
	for {
		got, err := root.page(ctx, q)
		if err != nil {
			return err
		}
		for _, k := range got.Items {
			if err := each(k); err != nil {
				return err
			}
		}
		if got.NextCursor == "" {
			return nil
		}
		q.Set("cursor", got.NextCursor)
	}
}

// checkWalk reads a whole listing and finds the population in it once, in order.
func checkWalk(ctx context.Context, root *client, p population, keys int, sort string) error {
	wanted := map[string]int{}
	for i := range keys {
		if i%len(p.Orgs) == 0 {
			wanted[string(keyOf(i))] = i
		}
	}
	var before *shownKey
	err := walk(ctx, root, url.Values{"org_id": {string(p.Orgs[0])}, "sort": {sort}}, func(k shownKey) error {
		if before != nil && !inOrder(sort, *before, k) {
			return fmt.Errorf("%+v comes before %+v", *before, k)
		}
		before = &k
		if i, ok := wanted[k.ID]; ok {
			delete(wanted, k.ID)
			return sameKey(k, p.created(i))
		}
		return nil
	})
	if err == nil && len(wanted) > 0 {
		return fmt.Errorf("%d of %d keys are not in the listing", len(wanted), keys)
	}
	return err
}

// inOrder tells whether a may come before b.
func inOrder(sort string, a, b shownKey) bool {
	by, descending := strings.CutPrefix(sort, "-")
	switch by {
	case "expires_at":
		return timesInOrder(a.ExpiresAt, b.ExpiresAt, descending)
	case "last_used_at":
		return timesInOrder(a.LastUsedAt, b.LastUsedAt, descending)
	}
	if descending {
		a, b = b, a
	}
	if by == "name" {
		return a.Name <= b.Name
	}
	return !a.CreatedAt.After(b.CreatedAt)
}

// timesInOrder: a key that never expires, or was never used, is last in both directions.
func timesInOrder(a, b *time.Time, descending bool) bool {
	switch {
	case a == nil || b == nil:
		return b == nil
	case descending:
		return !a.Before(*b)
	}
	return !a.After(*b)
}

// checkFilters counts what each filter finds against the population. Keys that other
// checks have made are not counted: their names tell them apart.
func checkFilters(ctx context.Context, root *client, p population, keys int) error {
	some := p.created(0)
	soon := some.At.Add(100 * 24 * time.Hour)
	for _, c := range []struct {
		name, value string
		holds       func(domain.KeyCreated) bool
	}{
		{"owner", some.Owner, func(e domain.KeyCreated) bool { return e.Owner == some.Owner }},
		{"scope", secondScope, func(e domain.KeyCreated) bool { return len(e.Scopes) == 2 }},
		{"name", "billing", func(e domain.KeyCreated) bool { return e.Name[:7] == "billing" }},
		{"prefix", some.Prefix, func(e domain.KeyCreated) bool { return e.Prefix == some.Prefix }},
		{"expires_before", stamp(soon), func(e domain.KeyCreated) bool { return !e.ExpiresAt.IsZero() && e.ExpiresAt.Before(soon) }},
	} {
		wanted := map[string]bool{}
		for i := range keys {
			if e := p.created(i); e.Org == p.Orgs[0] && c.holds(e) {
				wanted[string(e.ID)] = true
			}
		}
		found := 0
		err := walk(ctx, root, url.Values{"org_id": {string(p.Orgs[0])}, c.name: {c.value}}, func(k shownKey) error {
			found++
			if !wanted[k.ID] {
				return fmt.Errorf("%+v is in the answer", k)
			}
			return nil
		})
		if err == nil && found != len(wanted) {
			err = fmt.Errorf("%d keys found, want %d", found, len(wanted))
		}
		if err != nil {
			return fmt.Errorf("%s=%s: %w", c.name, c.value, err)
		}
	}
	return nil
}
