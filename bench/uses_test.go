package main

import (
	"fmt"
	"testing"

	"github.com/keytrail/keytrail/domain"
)

func TestUsesAreFilledWhereTheyAreMissing(t *testing.T) {
	var log usesLog
	dir, p := t.TempDir(), population{Orgs: []domain.OrgID{domain.NewOrgID("a"), domain.NewOrgID("b")}}
	for _, n := range []int{100, 100, 500} {
		if err := log.fill(t.Context(), dir, p, 20, n); err != nil {
			t.Fatal(err)
		}
	}
	if log.len() != 480 {
		t.Errorf("%d uses are filled", log.len())
	}
	counts, err := recorded(t.Context(), dir, gateway)
	if err != nil || counts[domain.UseValid] != 480 {
		t.Errorf("%v are on the ledger, %v", counts, err)
	}
}

// Each use that a replay lacks, or has twice, is noticed.
func TestAReplayIsHeldAgainstTheUsesThatWereFilled(t *testing.T) {
	e := &env{plan: plan{keys: 1}, uses: make(usesLog, 1)}
	line := func(j int) []byte {
		return fmt.Appendf(nil, `{"type":"key.used","actor":"%s","correlationid":"%s"}`, gateway, drawUse(j, 1).requestID())
	}
	for name, c := range map[string]struct {
		uses  []int
		wrong bool
	}{
		"all": {uses: ints(0, usesPerMessage)}, "one is missing": {uses: ints(1, usesPerMessage), wrong: true},
		"one is there twice": {uses: append(ints(0, usesPerMessage-1), 0), wrong: true},
	} {
		var seen seenEvents
		_ = seen.add([]byte(`{"type":"key.created"}`))
		for _, j := range c.uses {
			if err := seen.add(line(j)); err != nil {
				t.Fatal(err)
			}
		}
		if err := seen.check(e); (err != nil) != c.wrong {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func ints(from, to int) (all []int) {
	for i := from; i < to; i++ {
		all = append(all, i)
	}
	return all
}
