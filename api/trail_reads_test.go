package api_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// TestReadingTheTrailIsOnTheTrail in every form, of the reader's organization, and what is
// not written is not answered.
func TestReadingTheTrailIsOnTheTrail(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	reader, auditor := s.create(s.root, `{"org_id":"`+org+`","keyspace":"keytrail","name":"auditor","scopes":["audit:read"]}`)
	id, secret := s.create(s.root, `{"org_id":"`+org+`","name":"n"}`)
	for range 3 { // a retry costs nothing
		s.must(auditor, "GET", "/v1/events?limit=1&from=2026-01-01T00:00:00Z&key_id="+id, "")
		s.do(auditor, "GET", "/v1/events?type=key.created,key.revoked", "", "Accept", "application/x-ndjson")
		s.do(auditor, "GET", "/v1/events?actor="+secret, "")
	}
	reads := s.must(s.root, "GET", "/v1/events?type=audit.read&actor="+reader, "")["items"].([]any)
	var told []string
	for _, r := range reads {
		e := r.(map[string]any)
		if e["orgid"] != org {
			t.Errorf("%v is of another organization", e)
		}
		d := e["data"].(map[string]any)
		told = append(told, fmt.Sprint(d["access"], d["filter"], d["from"], d["count"]))
	}
	want := []string{"page" + fmt.Sprint(map[string]string{"key_id": id}) + "2026-01-01T00:00:00Z 1",
		"replaymap[type:key.created,key.revoked] <nil> 1", "pagemap[actor:[no principal]] <nil> 1"}
	if strings.ReplaceAll(strings.Join(told, "\n"), " ", "") != strings.ReplaceAll(strings.Join(want, "\n"), " ", "") {
		t.Errorf("the trail tells\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
	s.ledger.Suspend(domain.ErrStorageFull)
	defer s.ledger.Suspend(nil)
	if status, _, text := s.do(auditor, "GET", "/v1/events?ip=192.0.2.7", ""); status != 503 {
		t.Errorf("what cannot be written is answered: %d %s", status, text)
	}
}

// TestReadingEvidenceIsOnTheTrail, each kind, and what is not written is not answered.
func TestReadingEvidenceIsOnTheTrail(t *testing.T) {
	s := startSigned(t)
	reader, auditor := s.create(s.root, `{"keyspace":"keytrail","name":"auditor","scopes":["audit:read","keys:read"]}`)
	s.signed(auditor, "events", 3)
	s.signed(auditor, "uses", 1)
	paths := map[string]string{"tiles": "/v1/trail/events/tile/entries/000.p/1", "proof": "/v1/events/1/proof", "bundle": "/v1/trail/bundle", "state": "/v1/keys?at=2"}
	for access, path := range paths {
		if status, _, text := s.do(auditor, "GET", path, ""); status != 200 {
			t.Fatalf("%s: %d %s", path, status, text)
		}
		_, _, reads := s.do(s.root, "GET", "/v1/events?type=audit.read&actor="+reader, "")
		if !strings.Contains(reads, `"access":"`+access+`"`) {
			t.Errorf("GET %s is not on the trail: %s", path, reads)
		}
	}
	// A new reader's reads cannot be written where the ledger takes no events; uses it takes.
	_, unread := s.create(s.root, `{"keyspace":"keytrail","name":"second","scopes":["audit:read","keys:read"]}`)
	js := eventstoretest.JetStream(t, s.nats)
	stream, err := js.Stream(t.Context(), "KEYTRAIL_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	full := stream.CachedInfo().Config
	full.MaxMsgSize = 1
	if _, err := js.UpdateStream(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	paths["page"] = "/v1/events?limit=1"
	for access, path := range paths {
		if status, _, text := s.do(unread, "GET", path, ""); status < 500 {
			t.Errorf("GET %s, whose %s cannot be written: %d %s", path, access, status, text)
		}
	}
	if status, _, text := s.do(unread, "GET", "/v1/keys", ""); status != 200 {
		t.Errorf("what is no reading of the trail: %d %s", status, text)
	}
}
