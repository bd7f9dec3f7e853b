package main

import (
	"cmp"
	"encoding/json"
	"slices"
	"testing"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// historyEnv has 30 messages of uses that were appended in another order than that of their numbers.
func historyEnv() *env {
	e := &env{options: options{pages: 5}, plan: plan{keys: 50, orgs: 7}}
	for i := range e.orgs {
		e.population.Orgs = append(e.population.Orgs, domain.NewOrgID(string(rune('a'+i))))
	}
	for m := range 30 {
		e.uses = append(e.uses, []eventstore.Position{3, 1, 2}[m%3]+eventstore.Position(m-m%3))
	}
	return e
}

// page is the answer that h must get.
func (h *historyOf) page(order string, keys int) (all []map[string]string) {
	for range h.events {
		all = append(all, map[string]string{"type": "key.created"})
	}
	for _, j := range h.uses {
		u := drawUse(j, keys)
		all = append(all, map[string]string{"type": "key.used", "subject": string(keyOf(u.key)), "correlationid": u.requestID()})
	}
	if order == "desc" {
		slices.Reverse(all)
	}
	return all
}

func TestAPageOfAHistoryIsHeldAgainstTheUsesThatWereFilled(t *testing.T) {
	e := historyEnv()
	for _, order := range []string{"asc", "desc"} {
		events := 0
		for of, all := range e.histories(order) {
			for _, h := range all {
				if !slices.IsSortedFunc(h.uses, func(a, b int) int { return cmp.Compare(e.uses[a/usesPerMessage], e.uses[b/usesPerMessage]) }) {
					t.Errorf("%s of %s: uses are not in the order of the ledger", order, of)
				}
				whole := h.page(order, e.keys)
				first, atEnd := whole[:min(len(whole), historyPage)], len(whole) <= historyPage
				if err := h.check(answerOf(first, atEnd), order, e.keys); err != nil {
					t.Errorf("%s of %s: %v", order, of, err)
				}
				swapped := slices.Clone(first)
				slices.Reverse(swapped)
				for what, wrong := range map[string][]byte{
					"another order": answerOf(swapped, atEnd), "one missing": answerOf(first[1:], atEnd), "another end": answerOf(first, !atEnd),
				} {
					if len(first) > 1 && h.check(wrong, order, e.keys) == nil {
						t.Errorf("%s of %s: a page with %s is right", order, of, what)
					}
				}
				if of == ofOrg {
					events += len(h.uses)
				}
			}
		}
		if events == 0 {
			t.Error("no organization has a use")
		}
	}
}

func answerOf(items []map[string]string, atEnd bool) []byte {
	b, _ := json.Marshal(map[string]any{"items": items, "at_end": atEnd})
	return b
}

func TestTheKeysOfAnOrganizationAreCounted(t *testing.T) {
	e, counts := historyEnv(), map[domain.OrgID]int{}
	for i := range e.keys {
		counts[e.population.orgOf(i)]++
	}
	for _, org := range e.population.Orgs {
		if e.keysOf(org) != counts[org] {
			t.Errorf("%s has %d keys, not %d", org, counts[org], e.keysOf(org))
		}
	}
}
