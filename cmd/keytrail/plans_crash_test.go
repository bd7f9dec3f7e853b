package main

import (
	"syscall"
	"testing"
)

// TestAMonthsUsesSurviveACrash kills the service twice within a month's quota, and its read model is built
// anew in between: as many uses are valid as the plan allows, and no more.
func TestAMonthsUsesSurviveACrash(t *testing.T) {
	t.Parallel() // it waits more than it computes
	const quota = 30
	data := t.TempDir()
	r := launch(t, data)
	org := r.newOrg(t)
	r.call(t, "PUT", "/v1/plans/free", map[string]any{"programmatic_access": true, "uses_a_month": quota}, nil)
	r.call(t, "PATCH", "/v1/organizations/"+org, map[string]any{"plan": "free"}, nil)
	var m made
	r.call(t, "POST", "/v1/keys", map[string]any{"org_id": org, "name": "ci"}, &m)
	valid := 0
	for round := range 3 {
		for range quota / 2 {
			var a struct{ Code string }
			r.call(t, "POST", "/v1/verify", map[string]any{"key": m.Secret}, &a)
			switch {
			case a.Code == "VALID":
				valid++
			case a.Code != "QUOTA_EXCEEDED" || valid < quota:
				t.Fatalf("in round %d, after %d valid uses: %s", round, valid, a.Code)
			}
		}
		if round == 1 {
			expect(t, r.command(t, "", "projections", "rebuild", "usage"), exitOK, "usage was rebuilt")
		}
		r.end(t, syscall.SIGKILL)
		r = launch(t, data)
	}
	if valid != quota {
		t.Errorf("%d uses were valid, and the plan allows %d", valid, quota)
	}
}
