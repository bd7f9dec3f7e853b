package main

import (
	"slices"
	"testing"

	"github.com/keytrail/keytrail/domain"
)

func TestEveryOutcomeIsAskedFor(t *testing.T) {
	var asked []domain.Outcome
	for _, c := range outcomeCases(10) {
		asked = append(asked, c.want...)
	}
	for _, code := range domain.Outcomes {
		if !slices.Contains(asked, code) {
			t.Errorf("no question is answered %s", code)
		}
	}
}
