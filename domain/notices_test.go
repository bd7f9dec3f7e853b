package domain_test

import (
	"testing"
	"time"

	. "github.com/keytrail/keytrail/domain"
)

// step is a moment at which notices are looked for, and how many there are to be.
type step struct {
	at    time.Duration
	event Event // applied before
	used  time.Duration
	count int
}

func TestEachExpiryHasOneNotice(t *testing.T) {
	const day = 24 * time.Hour
	key := created
	key.ExpiresAt = noon.Add(10 * day)
	later := KeyUpdated{Changes: Changes{ExpiresAt: new(noon.Add(20 * day))}}
	for name, c := range map[string]struct {
		days  int
		steps []step
	}{
		"ahead, once":          {3, []step{{at: 7*day - 1}, {at: 7 * day, count: 1}, {at: 8 * day}}},
		"not after the expiry": {3, []step{{at: 10 * day}}},
		"another expiry":       {3, []step{{at: 8 * day, count: 1}, {at: 9 * day, event: later}, {at: 17 * day, count: 1}, {at: 18 * day}}},
		"a clock ahead":        {3, []step{{at: 9 * day, count: 1}, {at: 0}, {at: 8 * day}}},
		"revoked":              {3, []step{{at: 8 * day, event: revoked}}},
		"disabled":             {3, []step{{at: 8 * day, event: KeyDisabled{}}}},
		"never":                {0, []step{{at: 9 * day}}},
	} {
		k := fold(key)
		for i, s := range c.steps {
			k.Apply(s.event)
			e, err := Notices{ExpiringDays: c.days}.NoteExpiring(k, noon.Add(s.at))
			if err != nil || (e != nil) != (s.count == 1) {
				t.Errorf("%s, step %d: %v, %v", name, i, e, err)
			}
			k.Apply(e)
		}
	}
}

func TestEachIdlenessHasOneNotice(t *testing.T) {
	const day = 24 * time.Hour
	for name, steps := range map[string][]step{
		"never used":                       {{at: 30*day - 1}, {at: 30 * day, count: 1}, {at: 90 * day}},
		"used":                             {{at: 40*day - 1, used: 10 * day}, {at: 40 * day, used: 10 * day, count: 1}, {at: 41 * day, used: 10 * day}},
		"used again and idle again":        {{at: 40 * day, count: 1}, {at: 50 * day, used: 45 * day}, {at: 75 * day, used: 45 * day, count: 1}, {at: 80 * day, used: 45 * day}},
		"a clock ahead":                    {{at: 90 * day, used: day, count: 1}, {at: 0, used: day}, {at: 60 * day, used: day}},
		"a reader that is behind":          {{at: 40 * day, used: 10 * day, count: 1}, {at: 40 * day, used: 5 * day}, {at: 40 * day}},
		"revoked":                          {{at: 90 * day, event: revoked}},
		"disabled, and enabled afterwards": {{at: 90 * day, event: KeyDisabled{}}, {at: 91 * day, event: KeyEnabled{}, count: 1}},
	} {
		k := fold(created)
		for i, s := range steps {
			k.Apply(s.event)
			var used time.Time
			if s.used != 0 {
				used = noon.Add(s.used)
			}
			e, err := Notices{IdleDays: 30}.NoteIdle(k, used, noon.Add(s.at))
			if err != nil || (e != nil) != (s.count == 1) {
				t.Errorf("%s, step %d: %v, %v", name, i, e, err)
			}
			k.Apply(e)
		}
	}
}
