package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// untilSigned returns when both logs have a checkpoint.
func (r *running) untilSigned(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for _, stream := range []string{"events", "uses"} {
		for range time.Tick(20 * time.Millisecond) {
			err := send(t.Context(), "GET", r.url+"/v1/trail/"+stream+"/checkpoint", r.rootKey(t), "", nil, nil)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
}

// TestTheQuestionsOfAnAuditorAreAnswered runs the commands of docs/audit.md on a key's life.
func TestTheQuestionsOfAnAuditorAreAnswered(t *testing.T) {
	r := launch(t, t.TempDir())
	org := r.newOrg(t)
	var m, other made
	r.call(t, "POST", "/v1/keys", map[string]any{"org_id": org, "name": "billing", "scopes": []string{"invoices:write"}}, &m)
	r.call(t, "POST", "/v1/keys", map[string]any{"org_id": org, "name": "other"}, &other)
	id, root := m.Key.ID, ""
	var who struct{ ID string }
	r.call(t, "GET", "/v1/principal", nil, &who)
	root = who.ID
	r.call(t, "POST", "/v1/verify", map[string]any{"key": m.Secret, "ip": "192.0.2.7"}, nil)
	date := time.Now().UTC().Format(time.RFC3339Nano)
	r.call(t, "PATCH", "/v1/keys/"+id, map[string]any{"scopes": []string{"invoices:read"}}, nil)
	r.call(t, "POST", "/v1/keys/"+id+"/rotate", map[string]any{"overlap": "1h"}, nil)
	var revoked struct {
		RevokedAt string `json:"revoked_at"`
	}
	r.call(t, "POST", "/v1/keys/"+id+"/revoke", map[string]any{"reason": "key_compromise", "comment": "seen in a log"}, &revoked)
	r.call(t, "POST", "/v1/verify", map[string]any{"key": m.Secret, "ip": "203.0.113.9"}, nil)

	var narrow made
	r.call(t, "POST", "/v1/keys", map[string]any{"org_id": org, "keyspace": "keytrail", "name": "narrow", "scopes": []string{"sinks:read"}}, &narrow)
	if err := send(t.Context(), "GET", r.url+"/v1/keys", narrow.Secret, "", nil, nil); err == nil {
		t.Error("a key without the scope lists keys")
	}
	r.call(t, "GET", "/v1/keys/"+id, nil, nil)
	for _, soon := range []string{"keys.read", "access.refused"} { // a second later
		r.call(t, "GET", "/v1/events?wait=20s&org_id="+org+"&type="+soon, nil, nil)
	}
	r.untilSigned(t)

	answers := map[string][]string{ // what is in them; - before it: what is not
		"who created this key?":                  {"key.created", "by " + root, "-key.revoked"},
		"who changed it?":                        {"key.updated", "key.rotated", "by " + root},
		"who used it, and from where?":           {"code=VALID ip=192.0.2.7", "code=REVOKED ip=203.0.113.9"},
		"when was it revoked, and by whom?":      {revoked.RevokedAt[:19], "reason=key_compromise comment=seen in a log", "by " + root},
		"was it used after that?":                {"code=REVOKED ip=203.0.113.9", "-VALID"},
		"which keys had this scope on that day?": {id, "active", "invoices:write", "-" + other.Key.ID},
		"what could this key do on that day?":    {id, "active", "invoices:write", "-invoices:read"},
		"which keys were never rotated?":         {other.Key.ID, "-" + id},
		"who read the audit trail?":              {},
		"who read our keys?":                     {"keys.read", "by " + root, id},
		"who was refused what?":                  {"access.refused", "by " + narrow.Key.ID, "scope_missing", "-" + root},
		"may I have the evidence?":               {},
		"may I have that of one event?":          {`"position":1`},
		"was anything removed, or changed?":      {},
		"what happened in these weeks?":          {},
	}
	page, err := os.ReadFile("../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(page), "```sh questions\n")
	block, _, _ = strings.Cut(block, "```")
	dir := t.TempDir() // each command runs in a folder of its own
	of := strings.NewReplacer("trail.bundle", filepath.Join(dir, "trail.bundle"), "report.html", filepath.Join(dir, "report.html"), "$KEY", id, "$POSITION", "1", "$ORG", org, "$REVOKED", revoked.RevokedAt, "$DATE", date, "$FROM", time.Now().AddDate(0, 0, -14).UTC().Format(time.RFC3339), "$TO", date)
	for _, line := range strings.Split(strings.TrimSpace(block), "\n") {
		command, question, _ := strings.Cut(strings.TrimPrefix(line, "keytrail "), "# ")
		want, known := answers[question]
		if !known {
			t.Errorf("no test knows the answer to %q", question)
		}
		delete(answers, question)
		got := r.command(t, "", strings.Fields(of.Replace(command))...)
		expect(t, got, exitOK)
		for _, w := range want {
			text, without := strings.CutPrefix(w, "-")
			if strings.Contains(got.out, text) == without {
				t.Errorf("%s %q: %+v", question, w, got)
			}
		}
	}
	if len(answers) > 0 {
		t.Errorf("the page does not ask %v", answers)
	}
	// The root key, which asked all this, is of the installation: so are its reads.
	got := r.command(t, "", "events", "list", "--type", "audit.read")
	expect(t, got, exitOK, "access=page", "access=state", "filter=key_id:"+id)
	if n := len(regexp.MustCompile("(?m)^.*type:audit.read.*$").FindAllString(got.out, -1)); n == 0 {
		t.Errorf("asking who read is not on the trail: %+v", got)
	}
	expect(t, r.command(t, "", "audit", "state", "--at", "soon"), exitRefused, "at: ")
	expect(t, r.command(t, "", "audit", "state"), exitUsage, "at")
	expect(t, r.command(t, "", "audit", "state", "--at", ""), exitUsage, "at")
	expect(t, r.command(t, "", "audit", "state", "--at", date, "--json", id), exitOK, `"status": "active"`)
	expect(t, r.command(t, "", "audit", "state", "--at", "2", "--sort", "name"), exitOK, "ID")
}
