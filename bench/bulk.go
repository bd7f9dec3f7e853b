package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/keytrail/keytrail/domain"
)

// A bulkRate is how fast keys were taken by the thousand.
type bulkRate struct {
	What      string  `json:"what"`
	Keys      int     `json:"keys"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"per_second"`
}

const bulkSize = 10_000 // keys in a request, as the command line has it

// bulk imports keys into an organization of their own, verifies them, revokes them in bulk and
// verifies them again: all are good before, and none is after.
func bulk(ctx context.Context, e *env) error {
	var org struct{ ID domain.OrgID }
	if err := e.root(ctx, http.MethodPost, "/v1/organizations", fields{"name": "bulk"}, &org); err != nil {
		return err
	}
	for _, step := range []struct {
		what string
		do   func(context.Context, domain.OrgID) error
		then domain.Outcome
	}{
		{"import", e.importAll, domain.UseValid},
		{"bulk revoke, to the last key refused", e.revokeAll, domain.UseRevoked},
	} {
		took, err := timed(func() error { return step.do(ctx, org.ID) })
		if err == nil {
			_, err = inParallel(ctx, writers, e.bulk, func(i int) error { return e.expect(ctx, i, step.then) })
		}
		if err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		e.report.Bulk = append(e.report.Bulk, bulkRate{step.what, e.bulk, took.Seconds(), float64(e.bulk) / took.Seconds()})
	}
	return nil
}

// bulkSecret is that of an imported key, which is none of the population.
func (e *env) bulkSecret(i int) domain.Secret { return secretOf(e.keys + 2 + i) }

func (e *env) expect(ctx context.Context, i int, want domain.Outcome) error {
	v, _, err := e.verify(ctx, question{Key: e.bulkSecret(i).Reveal()})
	if err == nil && v.Code != want {
		err = fmt.Errorf("key %d was answered %+v, want %s", i, v, want)
	}
	return err
}

// importAll sends one request after the other, as the command line does.
func (e *env) importAll(ctx context.Context, org domain.OrgID) error {
	for from := 0; from < e.bulk; from += bulkSize {
		var lines bytes.Buffer
		to := min(from+bulkSize, e.bulk)
		for i := from; i < to; i++ {
			if err := json.NewEncoder(&lines).Encode(fields{
				"org_id": org, "name": fmt.Sprintf("imported %d", i), "owner": ownerOf(i), "scopes": []string{askedScope}, "digest": e.bulkSecret(i).Digest(),
			}); err != nil {
				return err
			}
		}
		var answer struct{ Imported int }
		if err := e.root(ctx, http.MethodPost, "/v1/keys/import", &lines, &answer); err != nil {
			return err
		}
		if answer.Imported != to-from {
			return fmt.Errorf("%d of %d keys were imported", answer.Imported, to-from)
		}
	}
	return nil
}

// revokeAll goes from page to page, as the command line does. A key of each page is verified
// as soon as that is answered.
func (e *env) revokeAll(ctx context.Context, org domain.OrgID) error {
	cursor, revoked := "start", 0
	for {
		var answer struct {
			Revoked int
			Next    *string `json:"next_cursor"`
		}
		if err := e.root(ctx, http.MethodPost, "/v1/keys/revoke", fields{"filter": fields{"org_id": org, "all": true}, "cursor": cursor, "reason": domain.KeyCompromise}, &answer); err != nil {
			return err
		}
		if err := e.expect(ctx, revoked+answer.Revoked/2, domain.UseRevoked); err != nil { // a page has the keys of one import
			return err
		}
		if revoked += answer.Revoked; answer.Next == nil {
			break
		}
		cursor = *answer.Next
	}
	if revoked != e.bulk {
		return fmt.Errorf("%d of %d keys were revoked", revoked, e.bulk)
	}
	return nil
}

func bulkTargets(r *report) (all []target) {
	for i, b := range r.Bulk {
		least := []float64{10_000, 15_000}[i]
		all = append(all, target{b.what(), fmt.Sprintf("≥ %.0f keys/s", least), fmt.Sprintf("%.0f", b.PerSecond), b.PerSecond < least})
	}
	return all
}

func (b bulkRate) what() string { return fmt.Sprintf("%s, %d keys", b.What, b.Keys) }

func bulkTable(r *report) string {
	t := table{
		before:  fmt.Sprintf("## In bulk\n\nRequests of %d keys, one after the other; each key is verified before and after.\n", bulkSize),
		columns: "| seconds> | keys/s>",
	}
	for _, b := range r.Bulk {
		t.row("%s | %.1f | %.0f", b.what(), b.Seconds, b.PerSecond)
	}
	return t.String()
}
