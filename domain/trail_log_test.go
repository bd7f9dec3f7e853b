package domain

import (
	"errors"
	"reflect"
	"testing"
	"time"
)

func TestTrailLog(t *testing.T) {
	operator, tenant := Principal{ID: "operator", Org: Installation}, Principal{ID: "tenant", Org: NewOrgID("acme")}
	one, two := map[string][]string{"events": {"k1"}}, map[string][]string{"events": {"k2"}}
	began := TrailBegun{Log: 1, Origin: "o/1", Reason: TrailInstalled, VerifierKeys: one, Header: Header{noon, System.ID}}
	forked := TrailForkDetected{Log: 1, Stream: "events", Finding: "f", Header: Header{noon, System.ID}}
	rotated := TrailKeysRotated{Log: 1, Generation: 2, OldUntil: noon.Add(time.Hour), VerifierKeys: two, Header: Header{noon, "operator"}}
	third := TrailKeysRotated{Log: 1, Generation: 3, OldUntil: noon.Add(time.Hour), Header: Header{noon, "operator"}}
	begin := func(restored string, by Principal) func(TrailLog) (Event, error) {
		return func(t TrailLog) (Event, error) {
			return t.Begin(BeginTrail{Origin: "o/1", Restored: restored, VerifierKeys: one, At: noon, By: by})
		}
	}
	renew := func(by Principal) func(TrailLog) (Event, error) {
		return func(t TrailLog) (Event, error) {
			return t.Renew(RenewTrail{Origin: "o/2", Comment: "c", VerifierKeys: one, At: noon, By: by})
		}
	}
	rotate := func(by Principal, at time.Time) func(TrailLog) (Event, error) {
		return func(t TrailLog) (Event, error) {
			return t.RotateKeys(RotateTrailKeys{Overlap: time.Hour, VerifierKeys: two, At: at, By: by})
		}
	}
	detect := func(by Principal, log uint64, stream string) func(TrailLog) (Event, error) {
		return func(t TrailLog) (Event, error) {
			return t.DetectFork(DetectFork{Log: log, Stream: stream, Finding: "f", At: noon, By: by})
		}
	}
	restoredAt := TrailBegun{Log: 2, Origin: "o/1", Reason: TrailRestored, Restored: "r1", VerifierKeys: one, Header: Header{noon, System.ID}}
	for name, c := range map[string]struct {
		given []Event
		when  func(TrailLog) (Event, error)
		then  Event
		err   error
	}{
		"the first start":                             {when: begin("", System), then: began},
		"a later start":                               {given: []Event{began}, when: begin("", System)},
		"the first start after a restoration":         {given: []Event{began}, when: begin("r1", System), then: restoredAt},
		"a later start after a restoration":           {given: []Event{began, restoredAt}, when: begin("r1", System)},
		"another restoration":                         {given: []Event{began, restoredAt}, when: begin("r2", System), then: TrailBegun{Log: 3, Origin: "o/1", Reason: TrailRestored, Restored: "r2", VerifierKeys: one, Header: Header{noon, System.ID}}},
		"a restoration of a ledger without logs":      {when: begin("r1", System), then: TrailBegun{Log: 1, Origin: "o/1", Reason: TrailRestored, Restored: "r1", VerifierKeys: one, Header: Header{noon, System.ID}}},
		"beginning by an operator":                    {when: begin("", operator), err: ErrOutOfReach},
		"renewing":                                    {given: []Event{began, forked}, when: renew(operator), then: TrailBegun{Log: 2, Origin: "o/2", Reason: TrailRenewed, Comment: "c", VerifierKeys: one, Header: Header{noon, "operator"}}},
		"renewing keeps what restoration it is after": {given: []Event{began, restoredAt}, when: renew(operator), then: TrailBegun{Log: 3, Origin: "o/2", Reason: TrailRenewed, Comment: "c", Restored: "r1", VerifierKeys: one, Header: Header{noon, "operator"}}},
		"renewing by a tenant":                        {given: []Event{began}, when: renew(tenant), err: ErrOutOfReach},
		"rotating keys":                               {given: []Event{began}, when: rotate(operator, noon), then: rotated},
		"rotating keys before there are any":          {when: rotate(operator, noon), err: ErrStarting},
		"rotating keys by a tenant":                   {given: []Event{began}, when: rotate(tenant, noon), err: ErrOutOfReach},
		"a fourth generation at once":                 {given: []Event{began, rotated, third}, when: rotate(operator, noon), err: ErrTooManyTrailKeys},
		"a fourth generation after the overlap":       {given: []Event{began, rotated, third}, when: rotate(operator, noon.Add(time.Hour)), then: TrailKeysRotated{Log: 1, Generation: 4, OldUntil: noon.Add(2 * time.Hour), VerifierKeys: two, Header: Header{noon.Add(time.Hour), "operator"}}},
		"a fork":                                      {given: []Event{began}, when: detect(System, 1, "events"), then: forked},
		"a fork is news once":                         {given: []Event{began, forked}, when: detect(System, 1, "events")},
		"a fork of the other stream":                  {given: []Event{began, forked}, when: detect(System, 1, "uses"), then: TrailForkDetected{Log: 1, Stream: "uses", Finding: "f", Header: Header{noon, System.ID}}},
		"a fork of a log that has ended":              {given: []Event{began, restoredAt}, when: detect(System, 1, "events")},
		"a fork that an operator claims":              {given: []Event{began}, when: detect(operator, 1, "events"), err: ErrOutOfReach},
	} {
		t.Run(name, func(t *testing.T) {
			var l TrailLog
			for _, e := range c.given {
				l.Apply(e)
			}
			got, err := c.when(l)
			if !errors.Is(err, c.err) || !reflect.DeepEqual(got, c.then) {
				t.Errorf("%+v, %v; want %+v, %v", got, err, c.then, c.err)
			}
		})
	}
}

// The keys before sign until their overlap ends, the last ones with no end; the next log has its own.
func TestKeysOfTheTrailSignForTheirOverlap(t *testing.T) {
	var l TrailLog
	l.Apply(TrailBegun{Log: 1, Origin: "o/1", Header: Header{At: noon}})
	earlier := l
	l.Apply(TrailKeysRotated{Generation: 2, OldUntil: noon.Add(time.Hour)})
	if len(earlier.Keys) != 1 || !earlier.Keys[0].Until.IsZero() {
		t.Errorf("what was read before changed: %+v", earlier.Keys)
	}
	for at, want := range map[time.Duration]int{0: 2, time.Hour - time.Millisecond: 2, time.Hour: 1, -time.Hour: 2} {
		if keys := l.SigningKeys(noon.Add(at)); len(keys) != want || keys[0].Generation != 2 {
			t.Errorf("after %v %+v sign", at, keys)
		}
	}
	l.Apply(TrailForkDetected{Stream: "uses"})
	l.Apply(TrailBegun{Log: 2, Origin: "o/2"})
	if len(l.Keys) != 1 || len(l.Forks) != 0 || !reflect.DeepEqual(l.Earlier, []string{"o/1"}) {
		t.Errorf("%+v", l)
	}
}
