package domain

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

var (
	hook         = SinkDefinition{Name: "hook", Type: SinkWebhook, URL: "https://siem.example.com/in", Format: FormatCloudEvents}
	elsewhere    = Principal{ID: "key_elsewhere", Org: NewOrgID("elsewhere"), Scopes: []string{"*"}}
	sinkOf       = NewSinkID(tenant.Org, "s")
	sinkCreated  = SinkCreated{ID: sinkOf, Org: tenant.Org, Definition: hook, Credentials: []string{"headers"}, PublicKey: "whpk_1", Sealed: []byte("1"), After: TrailPlace{5, 3}, Header: Header{noon, tenant.ID}}
	sinkPaused   = SinkPaused{Reason: PausedByOperator, Header: Header{noon, tenant.ID}}
	sinkReplayed = SinkReplayed{Number: 1, SinkReplayRange: SinkReplayRange{To: TrailPlace{4, 0}}, Header: Header{noon, tenant.ID}}
	sinkGap      = SinkSpan{Stream: "uses", From: 1, To: 9, Reason: GapPruned}
	sinkDeleted  = SinkDeleted{Header{noon, tenant.ID}}
)

func TestSinkDecisions(t *testing.T) {
	renamed := hook
	renamed.Name = "renamed"
	file := SinkDefinition{Name: "f", Type: SinkFile, Format: FormatCloudEvents, Settings: SinkSettings{Path: "f"}}
	stream := SinkDefinition{Name: "s", Type: SinkStream, Format: FormatCloudEvents}
	create := func(org OrgID, d SinkDefinition, by Principal, have SinkCounts) func(Sink) (Event, error) {
		return func(s Sink) (Event, error) {
			return s.Create(CreateSink{ID: sinkOf, Org: org, Definition: d, Credentials: []string{"headers"}, PublicKey: "whpk_1", Sealed: []byte("1"), After: TrailPlace{5, 3}, Counts: have, At: noon, By: by})
		}
	}
	update := func(d SinkDefinition, sealed []byte, by Principal) func(Sink) (Event, error) {
		return func(s Sink) (Event, error) {
			return s.Update(UpdateSink{Definition: d, Credentials: []string{"headers"}, Sealed: sealed, At: noon, By: by})
		}
	}
	rotate := func(by Principal) func(Sink) (Event, error) {
		return func(s Sink) (Event, error) {
			return s.RotateSecret(RotateSinkSecret{PublicKey: "whpk_2", Sealed: []byte("2"), Overlap: time.Hour, At: noon, By: by})
		}
	}
	pause := func(by Principal) func(Sink) (Event, error) {
		return func(s Sink) (Event, error) { return s.PauseFor(PauseSink{PausedByOperator, "", noon, by}) }
	}
	resume := func(by Principal) func(Sink) (Event, error) {
		return func(s Sink) (Event, error) { return s.Resume(ChangeSink{noon, by}) }
	}
	replay := func(from, to uint64, by Principal) func(Sink) (Event, error) {
		return func(s Sink) (Event, error) {
			return s.BeginReplay(ReplaySink{SinkReplayRange{From: TrailPlace{Events: from}, To: TrailPlace{Events: to}}, noon, by})
		}
	}
	ended := func(n int) func(Sink) (Event, error) {
		return func(s Sink) (Event, error) {
			return s.EndReplay(EndSinkReplay{n, SinkReplayResult{Delivered: 4}, noon, System})
		}
	}
	gap := func(by Principal) func(Sink) (Event, error) {
		return func(s Sink) (Event, error) { return s.NoteGap(NoteSinkGap{sinkGap, noon, by}) }
	}
	remove := func(by Principal) func(Sink) (Event, error) {
		return func(s Sink) (Event, error) { return s.Delete(ChangeSink{noon, by}) }
	}
	by, system := Header{noon, tenant.ID}, Header{noon, System.ID}
	for name, c := range map[string]struct {
		given []Event
		when  func(Sink) (Event, error)
		then  Event
		err   error
	}{
		"creating":                              {when: create(tenant.Org, hook, tenant, SinkCounts{OfOrg: 49, All: 9999}), then: sinkCreated},
		"creating twice is news once":           {given: []Event{sinkCreated}, when: create(tenant.Org, hook, tenant, SinkCounts{OfOrg: 50, All: 10_000})},
		"creating for another organization":     {when: create(tenant.Org, hook, elsewhere, SinkCounts{}), err: ErrOrganizationNotFound},
		"creating the 51st":                     {when: create(tenant.Org, hook, tenant, SinkCounts{OfOrg: 50, All: 50}), err: ErrTooManySinks},
		"creating the fifth stream":             {when: create(tenant.Org, stream, tenant, SinkCounts{OfOrg: 4, StreamsOfOrg: 4, All: 4}), err: ErrTooManySinkStreams},
		"creating the 10,001st":                 {when: create(tenant.Org, hook, tenant, SinkCounts{OfOrg: 0, All: 10_000}), err: ErrTooManySinksInAll},
		"a file of an organization":             {when: create(tenant.Org, file, operator, SinkCounts{}), err: InvalidField("type", "")},
		"updating":                              {given: []Event{sinkCreated}, when: update(renamed, nil, tenant), then: SinkUpdated{renamed, []string{"headers"}, []byte("1"), by}},
		"updating credentials":                  {given: []Event{sinkCreated}, when: update(hook, []byte("3"), tenant), then: SinkUpdated{hook, []string{"headers"}, []byte("3"), by}},
		"updating nothing":                      {given: []Event{sinkCreated}, when: update(hook, nil, tenant)},
		"updating another's":                    {given: []Event{sinkCreated}, when: update(renamed, nil, elsewhere), err: ErrSinkNotFound},
		"updating none":                         {when: update(renamed, nil, operator), err: ErrSinkNotFound},
		"updating a deleted one":                {given: []Event{sinkCreated, sinkDeleted}, when: update(renamed, nil, tenant), err: ErrSinkNotFound},
		"rotating":                              {given: []Event{sinkCreated}, when: rotate(tenant), then: SinkSecretRotated{"whpk_2", noon.Add(time.Hour), []byte("2"), by}},
		"rotating what is not signed":           {given: []Event{SinkCreated{ID: sinkOf, Org: Installation, Definition: file}}, when: rotate(operator), err: ErrSinkUnsigned},
		"rotating another's":                    {given: []Event{sinkCreated}, when: rotate(elsewhere), err: ErrSinkNotFound},
		"pausing":                               {given: []Event{sinkCreated}, when: pause(tenant), then: sinkPaused},
		"pausing twice is news once":            {given: []Event{sinkCreated, sinkPaused}, when: pause(tenant)},
		"pausing another's":                     {given: []Event{sinkCreated}, when: pause(elsewhere), err: ErrSinkNotFound},
		"resuming":                              {given: []Event{sinkCreated, sinkPaused}, when: resume(tenant), then: SinkResumed{by}},
		"resuming what is not paused":           {given: []Event{sinkCreated}, when: resume(tenant)},
		"resuming another's":                    {given: []Event{sinkCreated, sinkPaused}, when: resume(elsewhere), err: ErrSinkNotFound},
		"replaying":                             {given: []Event{sinkCreated}, when: replay(0, 4, tenant), then: sinkReplayed},
		"replaying nothing":                     {given: []Event{sinkCreated}, when: replay(4, 4, tenant), err: InvalidField("to", "")},
		"replaying while a replay is under way": {given: []Event{sinkCreated, sinkReplayed}, when: replay(0, 4, tenant), err: ErrReplayRunning},
		"replaying another's":                   {given: []Event{sinkCreated}, when: replay(0, 4, elsewhere), err: ErrSinkNotFound},
		"ending a replay":                       {given: []Event{sinkCreated, sinkReplayed}, when: ended(1), then: SinkReplayEnded{1, SinkReplayResult{Delivered: 4}, system}},
		"ending another replay":                 {given: []Event{sinkCreated, sinkReplayed}, when: ended(2)},
		"replaying after a replay":              {given: []Event{sinkCreated, sinkReplayed, SinkReplayEnded{Number: 1}}, when: replay(0, 4, tenant), then: SinkReplayed{2, sinkReplayed.SinkReplayRange, by}},
		"a gap":                                 {given: []Event{sinkCreated}, when: gap(System), then: SinkGap{sinkGap, system}},
		"a gap is news once":                    {given: []Event{sinkCreated, SinkGap{SinkSpan: sinkGap}}, when: gap(System)},
		"deleting":                              {given: []Event{sinkCreated}, when: remove(tenant), then: sinkDeleted},
		"deleting twice is news once":           {given: []Event{sinkCreated, sinkDeleted}, when: remove(tenant)},
		"deleting another's that was deleted":   {given: []Event{sinkCreated, sinkDeleted}, when: remove(elsewhere), err: ErrSinkNotFound},
		"deleting none":                         {when: remove(operator), err: ErrSinkNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			var s Sink
			for _, e := range c.given {
				s.Apply(e)
			}
			e, err := c.when(s)
			if !reflect.DeepEqual(e, c.then) || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Errorf("%+v, %v", e, err)
			}
		})
	}
}

func TestSinkState(t *testing.T) {
	var s Sink
	if s.Exists() {
		t.Error("a sink without history exists")
	}
	for _, e := range []Event{sinkCreated, sinkPaused, sinkReplayed, SinkGap{SinkSpan: sinkGap}} {
		s.Apply(e)
	}
	if !s.Exists() || !s.Paused() || s.Replay.Number != 1 || s.Gaps != 1 || *s.LastGap != sinkGap || s.Reach() != Only(tenant.Org) {
		t.Errorf("%+v", s)
	}
	s.Apply(SinkResumed{Header{At: noon}})
	s.Apply(SinkSecretRotated{PublicKey: "whpk_2", Sealed: []byte("2")})
	if s.Paused() || s.PublicKey != "whpk_2" || string(s.Sealed) != "2" || s.ResumedAt != noon {
		t.Errorf("%+v", s)
	}
	s.Apply(sinkDeleted)
	if s.Exists() || s.Sealed != nil || s.Replay != nil {
		t.Errorf("a deleted sink has %+v", s)
	}
	if s = (Sink{Org: Installation}); s.Reach() != All {
		t.Error("a sink of the installation does not get everything")
	}
}

func TestSigningSecretsOverlap(t *testing.T) {
	secret := func(i byte) SigningSecret { return SigningSecret{Secret: []byte(strings.Repeat(string(rune(i)), 32))} }
	var c SinkCredentials
	for i := range byte(4) {
		if err := c.RotateSigning(secret(i), time.Hour, noon.Add(time.Duration(i)*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.Signing) != 4 || c.Signing[0].ValidUntil != 0 || c.Signing[3].ValidUntil != noon.Add(61*time.Minute).UnixMilli() {
		t.Errorf("%d secrets", len(c.Signing))
	}
	if err := c.RotateSigning(secret(5), time.Hour, noon.Add(4*time.Minute)); !errors.Is(err, ErrTooManySigningSecrets) {
		t.Errorf("the fifth: %v", err)
	}
	if err := c.RotateSigning(secret(6), time.Hour, noon.Add(2*time.Hour)); err != nil || len(c.Signing) != 2 {
		t.Errorf("after the overlaps: %d secrets, %v", len(c.Signing), err)
	}
	if err := c.RotateSigning(secret(7), 0, noon.Add(2*time.Hour)); err != nil || len(c.Signing) != 1 {
		t.Errorf("without overlap: %d secrets, %v", len(c.Signing), err)
	}
}

// TestSecretsOfSinksAreNotPrinted, whatever the verb.
func TestSecretsOfSinksAreNotPrinted(t *testing.T) {
	c := SinkCredentials{Token: "open sesame", Signing: []SigningSecret{{Secret: []byte("open sesame")}}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
		for _, v := range []any{c, &c, c.Signing, struct{ Credentials SinkCredentials }{c}} {
			if text := fmt.Sprintf(verb, v); strings.Contains(text, "sesame") || strings.Contains(text, "6f70656e") {
				t.Errorf("%s of %T prints %s", verb, v, text)
			}
		}
	}
	if text := c.Signing[0].Text(); !strings.HasPrefix(text.Reveal(), "whsec_") {
		t.Error("no whsec_")
	}
}
