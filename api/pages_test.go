package api

import (
	"context"
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/domain"
)

// An organization has so many pages at once; when all slots are taken, pages wait for one.
func TestPagesAreBounded(t *testing.T) {
	a := newAdmission(Limits{}, prometheus.NewRegistry())
	var held []func()
	take := func(ctx context.Context, org domain.OrgID) error {
		release, err := a.acquirePage(ctx, org)
		if err == nil {
			held = append(held, release)
		}
		return err
	}
	for i := range maxPages {
		org := domain.NewOrgID(string(rune('a' + i/maxPagesPerOrg)))
		if err := take(t.Context(), org); err != nil {
			t.Fatalf("page %d of %s: %v", i, org, err)
		}
		if (i+1)%maxPagesPerOrg == 0 {
			if err := take(t.Context(), org); !errors.Is(err, domain.ErrTooManyPages) {
				t.Errorf("one page more of %s: %v", org, err)
			}
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := take(gone, domain.NewOrgID("another")); !errors.Is(err, context.Canceled) {
		t.Errorf("a page without a slot: %v", err)
	}
	for _, release := range held {
		release()
	}
	if err := take(t.Context(), domain.NewOrgID("a")); err != nil {
		t.Errorf("when all are released: %v", err)
	}
}
