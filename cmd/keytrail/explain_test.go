package main

import (
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
)

func TestEachOutcomeIsToldInWords(t *testing.T) {
	told := map[string]domain.Outcome{}
	for _, o := range domain.Outcomes {
		words := verification{Code: o}.explain()
		if !strings.HasSuffix(words, ".") || strings.Contains(words, "a newer one may") || told[words] != "" {
			t.Errorf("%s: %s", o, words)
		}
		told[words] = o
	}
	if words := (verification{Code: "NEW"}).explain(); !strings.Contains(words, "a newer one may") {
		t.Errorf("an outcome that there is not: %s", words)
	}
}

func TestARefusalIsToldAsFarAsTheAnswerTells(t *testing.T) {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	past, ahead := noon.Add(-time.Hour), noon.Add(time.Hour)
	for want, v := range map[string]verification{
		"The key is good until 2026-11-22T13:00:00Z.":                                 {Code: domain.UseValid, ExpiresAt: &ahead},
		"The key expired at 2026-11-22T11:00:00Z.":                                    {Code: domain.UseExpired, ExpiresAt: &past},
		"this one was rotated away":                                                   {Code: domain.UseExpired, ExpiresAt: &ahead},
		"The key lacks the scope b:read and c:read.":                                  {Code: domain.UseInsufficientScope, Scopes: []string{"a:*"}, asked: []string{"a:read", "b:read", "c:read"}},
		"no address was given":                                                        {Code: domain.UseIPNotAllowed},
		"may not be used from 192.0.2.7":                                              {Code: domain.UseIPNotAllowed, ip: "192.0.2.7"},
		`The key's owner, "u", lacks the attribute a, which the keyspace k requires.`: {Code: domain.UseRequirementUnmet, Keyspace: "k", Owner: "u", Requirement: requirement{"a", "owner"}},
		"The key's organization, o, lacks the attribute a":                            {Code: domain.UseRequirementUnmet, Keyspace: "k", Org: "o", Owner: "u", Requirement: requirement{"a", "organization"}},
		"The key has no owner, and so lacks the attribute a":                          {Code: domain.UseRequirementUnmet, Keyspace: "k", Requirement: requirement{"a", "owner"}},
		"of 5 in 1m is used up until 2026-11-22T12:01:00Z":                            {Code: domain.UseRateLimited, RateLimits: []limitState{{5, "1m", 0, noon.Unix() + 60}, {9, "1h", 4, noon.Unix() + 3600}}},
	} {
		v.now = noon
		if words := v.explain(); !strings.Contains(words, want) {
			t.Errorf("%s, want %s", words, want)
		}
	}
}
