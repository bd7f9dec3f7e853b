package api_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/audit/evidence"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A tenantTrail is a service with the trail of two organizations.
type tenantTrail struct {
	*service
	ours, theirs     string // organizations
	auditor, foreign string // their auditors' keys
	trust            evidence.Trust
}

// startTenants makes keys of two organizations, uses them, and waits until all is signed.
func startTenants(t testing.TB) *tenantTrail {
	t.Helper()
	s := &tenantTrail{service: startSigned(t)}
	for _, of := range []struct{ org, auditor *string }{{&s.ours, &s.auditor}, {&s.theirs, &s.foreign}} {
		*of.org = s.org("Acme")
		*of.auditor = s.must(s.root, "POST", "/v1/keys", `{"org_id":"`+*of.org+`","keyspace":"keytrail","name":"auditor","scopes":["audit:read"]}`)["secret"].(string)
		for i := range 5 {
			made := s.must(s.root, "POST", "/v1/keys", fmt.Sprintf(`{"org_id":"%s","name":"k%d"}`, *of.org, i))
			s.must(s.root, "POST", "/v1/verify", `{"key":"`+made["secret"].(string)+`"}`)
			s.must(s.root, "POST", "/v1/keys/"+made["key"].(map[string]any)["id"].(string)+"/disable", "")
		}
	}
	_, _, keys := s.do(s.root, "GET", "/v1/trail/vkey", "")
	for line := range strings.Lines(keys) {
		if err := s.trust.AddKey(strings.TrimSpace(line)); err != nil {
			t.Fatal(err)
		}
	}
	s.signedToTheEnd()
	return s
}

func (s *tenantTrail) signedToTheEnd() {
	s.t.Helper()
	for _, stream := range eventstore.Streams {
		end, err := s.ledger.End(s.t.Context(), stream)
		if err != nil {
			s.t.Fatal(err)
		}
		s.signed(s.root, stream.String(), int64(end))
	}
}

// bundle is a good bundle, and what is found of it.
func (s *tenantTrail) bundle(key, query string) (string, evidence.Report) {
	s.t.Helper()
	status, header, text := s.do(key, "GET", "/v1/trail/bundle?"+query, "")
	if status != 200 || header.Get("Content-Type") != "application/x-ndjson" {
		s.t.Fatalf("%d %s", status, text)
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	r, err := evidence.Verify(strings.NewReader(text), evidence.Options{Trust: s.trust})
	if err != nil || r.FirstUse {
		s.t.Fatalf("%s: %v", query, err)
	}
	return text, r
}

func TestBundlesAreOfWhatTheirReaderMaySee(t *testing.T) {
	s := startTenants(t)
	whole, all := s.bundle(s.root, "")
	if all.Manifest.Organization != "" || all.Counts.Events < 20 || all.Counts.Uses < 10 || all.Counts.Events != uint64(all.Manifest.Logs[0].Last) || all.Manifest.Logs[0].First != 1 {
		t.Errorf("%+v", all)
	}
	for key, query := range map[string]string{s.auditor: "", s.root: "org_id=" + s.ours} {
		own, r := s.bundle(key, query)
		if r.Manifest.Organization != domain.OrgID(s.ours) || strings.Contains(own, s.theirs) || !strings.Contains(own, s.ours) || r.Counts.Events < 11 || r.Counts.Uses < 5 {
			t.Errorf("%s: %+v", query, r.Counts)
		}
	}
	for _, secret := range []string{"Keytrail-Private", `"digest"`} {
		if strings.Contains(whole, secret) {
			t.Errorf("the bundle has %s", secret)
		}
	}
	if status, _, text := s.do(s.auditor, "GET", "/v1/trail/bundle?org_id="+s.theirs, ""); status != 404 {
		t.Errorf("%d %s", status, text)
	}
	for _, query := range []string{"from=x", "to=1", "from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z", "since_events=-1", "since_uses=x", "since_events=99999", "nonsense=1", "org_id=x"} {
		if status, _, text := s.do(s.root, "GET", "/v1/trail/bundle?"+query, ""); status != 400 && status != 404 {
			t.Errorf("%s: %d %s", query, status, text)
		}
	}
}

func TestABundleOfATimeGoesOnFromAnOlderOne(t *testing.T) {
	s := startTenants(t)
	older, before := s.bundle(s.root, "")
	heads, err := evidence.ReadOlder([]byte(older))
	if err != nil {
		t.Fatal(err)
	}
	from := time.Now().UTC()
	s.must(s.root, "POST", "/v1/keys", `{"org_id":"`+s.ours+`","name":"later"}`)
	s.signedToTheEnd()
	query := fmt.Sprintf("from=%s&since_events=%d&since_uses=%d", from.Format(time.RFC3339Nano), heads[0].Size, heads[1].Size)
	part, r := s.bundle(s.root, query)
	if r.Manifest.Logs[0].First <= before.Manifest.Logs[0].Last || r.Counts.Events == 0 || !strings.Contains(part, "later") {
		t.Errorf("%+v", r.Manifest.Logs)
	}
	if r, err = evidence.Verify(strings.NewReader(part), evidence.Options{Trust: s.trust, Older: heads}); err != nil || len(r.Since) != 2 {
		t.Errorf("%v, %+v", err, r.Since)
	}
	empty, r := s.bundle(s.root, "to="+from.AddDate(-1, 0, 0).Format(time.RFC3339))
	if r.Counts.Events != 0 || strings.Contains(empty, `{"event":`) {
		t.Errorf("%+v", r)
	}
	if _, r := s.bundle(s.auditor, "from="+from.Format(time.RFC3339Nano)); r.Counts.Events == 0 || r.Counts.Events > 2 {
		t.Errorf("%+v", r.Counts)
	}
}

func TestProofs(t *testing.T) {
	s := startTenants(t)
	bundle, _ := s.bundle(s.auditor, "")
	var events, uses []string
	for line := range strings.Lines(bundle) {
		if rest, ok := strings.CutPrefix(line, `{"event":`); ok {
			position, _, _ := strings.Cut(rest, ",")
			events = append(events, position)
		}
		if rest, ok := strings.CutPrefix(line, `{"use":"`); ok {
			position, _, _ := strings.Cut(rest, `"`)
			uses = append(uses, position)
		}
	}
	for _, at := range append(events[:5:5], uses[:3]...) {
		status, _, text := s.do(s.auditor, "GET", "/v1/events/"+at+"/proof", "")
		p, err := evidence.VerifyProof([]byte(text), s.trust)
		if status != 200 || err != nil || p.Proof.Identity() != at || !strings.Contains(p.Proof.Text(), s.ours) || strings.Contains(text, s.theirs) {
			t.Errorf("%s: %d, %v, %s", at, status, err, text)
		}
		if status, _, text := s.do(s.foreign, "GET", "/v1/events/"+at+"/proof", ""); status != 404 || !strings.Contains(text, "position_not_found") {
			t.Errorf("%s for another organization: %d %s", at, status, text)
		}
		if status, _, _ := s.do(s.root, "GET", "/v1/events/"+at+"/proof", ""); status != 200 {
			t.Errorf("%s for the installation: %d", at, status)
		}
	}
	for at, want := range map[string]int{"0": 400, "-1": 400, "x": 400, "1.x": 400, "1.-1": 400, "99999999999999999999": 400, "999999": 404, "999999.0": 404, uses[0] + "999": 404} {
		if status, _, text := s.do(s.auditor, "GET", "/v1/events/"+at+"/proof", ""); status != want {
			t.Errorf("%s: %d %s; want %d", at, status, text, want)
		}
	}
}
