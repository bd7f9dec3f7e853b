package api_test

import (
	"testing"
)

// A rebuild is answered at once and goes on after its request; all see how far it is.
func TestARebuildOutlivesItsRequest(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	s.create(s.root, `{"name":"n","org_id":"`+org+`"}`)
	if status, _, text := s.do(s.root, "POST", "/v1/projections/keys/rebuild", ""); status != 202 {
		t.Fatalf("%d %s", status, text)
	}
	for s.rebuild("keys")["state"] == "running" {
	}
	if r := s.rebuild("keys"); r["state"] != "done" || r["position"].(float64) < 3 || r["started_at"] == nil || r["ended_at"] == nil {
		t.Errorf("the rebuild is %v", r)
	}
	s.must(s.root, "DELETE", "/v1/projections/keys/rebuild", "") // there is nothing to cancel
	if r := s.rebuild("keys"); r["state"] != "done" {
		t.Errorf("cancelled when it was over, it is %v", r)
	}
	if r := s.rebuild("usage"); r != nil {
		t.Errorf("nobody rebuilt %v", r)
	}
}

func TestRebuildsAreForTheInstallation(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	_, tenant := s.create(s.root, `{"keyspace":"keytrail","name":"n","org_id":"`+org+`","scopes":["*"]}`)
	for key, want := range map[string]int{"": 401, "kt_mgmt_wrong": 401, tenant: 403} {
		for _, method := range []string{"POST", "DELETE"} {
			if status, _, text := s.do(key, method, "/v1/projections/keys/rebuild", ""); status != want {
				t.Errorf("%s: %d %s, want %d", method, status, text, want)
			}
		}
	}
	if r := s.rebuild("keys"); r != nil {
		t.Errorf("it is being rebuilt: %v", r)
	}
}

// rebuild is what GET /v1/projections says of the latest rebuild of one.
func (s *service) rebuild(name string) map[string]any {
	s.t.Helper()
	for _, item := range s.must(s.root, "GET", "/v1/projections", "")["items"].([]any) {
		if p := item.(map[string]any); p["name"] == name {
			r, _ := p["rebuild"].(map[string]any)
			return r
		}
	}
	s.t.Fatalf("no projection %s", name)
	return nil
}
