package api

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/domain"
)

// An organization has so many pages at once; when all slots are taken, pages wait for one, for a
// while.
func TestPagesAreBounded(t *testing.T) {
	a := newAdmission(Limits{}, prometheus.NewRegistry())
	var held []func()
	take := func(ctx context.Context, org domain.OrgID) error {
		release, err := a.acquireFor(ctx, &a.pages, org)
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
	defer func(before time.Duration) { maxSlotWait = before }(maxSlotWait)
	maxSlotWait = time.Millisecond
	if err := take(t.Context(), domain.NewOrgID("another")); !errors.Is(err, domain.ErrOverloaded) {
		t.Errorf("a page that waited for a slot: %v", err)
	}
	for _, release := range held {
		release()
		release() // once more is no more
	}
	if err := take(t.Context(), domain.NewOrgID("a")); err != nil {
		t.Errorf("when all are released: %v", err)
	}
	if len(a.pages.slots) != 1 {
		t.Errorf("%d slots are held", len(a.pages.slots))
	}
}
