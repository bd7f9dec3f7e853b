package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestAReportTellsWhatHappened as a page that runs nothing, whatever keys are called, and as JSON.
func TestAReportTellsWhatHappened(t *testing.T) {
	r := launch(t, t.TempDir())
	org, other := r.newOrg(t), r.newOrg(t)
	const script = `<script>alert(1)</script><style>*{display:none}</style>"'><img src=//example.com>`
	var evil, fine made
	r.call(t, "POST", "/v1/keys", map[string]any{"org_id": org, "name": script, "owner": "</table>" + script, "ttl": "240h"}, &evil)
	r.call(t, "POST", "/v1/keys", map[string]any{"org_id": org, "name": "fine"}, &fine)
	foreign := r.newKey(t, other)
	for range 3 {
		for _, m := range []made{evil, fine, foreign} {
			r.call(t, "POST", "/v1/verify", map[string]any{"key": m.Secret}, nil)
		}
	}
	r.call(t, "POST", "/v1/keys/"+fine.Key.ID+"/rotate", nil, nil)
	r.call(t, "POST", "/v1/keys/"+evil.Key.ID+"/rotate", nil, &evil)
	var gone made
	r.call(t, "POST", "/v1/keys", map[string]any{"org_id": org, "name": script}, &gone)
	r.call(t, "POST", "/v1/keys/"+gone.Key.ID+"/revoke", nil, nil)
	r.call(t, "POST", "/v1/verify", map[string]any{"key": gone.Secret}, nil)
	r.call(t, "POST", "/v1/verify", map[string]any{"key": gone.Secret}, nil)
	var auditor made
	r.call(t, "POST", "/v1/keys", map[string]any{"org_id": org, "keyspace": "keytrail", "name": "auditor", "scopes": []string{"keys:read", "audit:read"}}, &auditor)

	dir := t.TempDir()
	at := func(actors []reportActor, name, what string) int {
		for _, a := range actors {
			if a.Actor == name {
				return a.Counts[what]
			}
		}
		return 0
	}
	env := environ("KEYTRAIL_URL="+r.url, "KEYTRAIL_KEY="+auditor.Secret)
	var got report
	deadline := time.Now().Add(time.Minute) // a report ends with the second before it is made, and counts of uses come a moment later
	for range time.Tick(100 * time.Millisecond) {
		got = report{}
		expect(t, cli(t, "", env, "audit", "report", "--format", "json", "--out", filepath.Join(dir, "r.json")), exitOK)
		fromJSON(t, told{out: readText(t, filepath.Join(dir, "r.json"))}, &got)
		if got.UsesTotal["REVOKED"] == 2 && got.Keys == 4 && at(got.Reads, auditor.Key.ID, "replay") > 0 || time.Now().After(deadline) {
			break
		}
	}
	var root struct{ ID string }
	r.call(t, "GET", "/v1/principal", nil, &root)
	if got.Keys != 4 || got.Statuses["active"] != 3 || got.Statuses["revoked"] != 1 || got.Ages[0].Keys != 3 || got.UsesTotal["REVOKED"] != 2 {
		t.Errorf("%+v", got)
	}
	if got.NeverRotated.Count != 1 || got.NeverRotated.First[0].Name != "auditor" || got.Expiring.Count != 1 || string(got.Expiring.First[0].ID) != evil.Key.ID {
		t.Errorf("never rotated %+v, expiring %+v", got.NeverRotated, got.Expiring)
	}
	if len(got.Refused) != 1 || got.Refused[0].Uses != 2 || string(got.Refused[0].Key) != gone.Key.ID {
		t.Errorf("refused %+v", got.Refused)
	}
	if at(got.Changes, root.ID, "key.created") != 4 || at(got.Changes, root.ID, "key.revoked") != 1 || at(got.Reads, auditor.Key.ID, "state") == 0 || at(got.Reads, auditor.Key.ID, "replay") == 0 {
		t.Errorf("changes %+v, reads %+v", got.Changes, got.Reads)
	}

	if strings.Contains(readText(t, filepath.Join(dir, "r.json")), `"counts": null`) {
		t.Error("a day without uses has null for its counts")
	}

	page := filepath.Join(dir, "r.html")
	expect(t, cli(t, "", env, "audit", "report", "--org", org, "--out", page), exitOK, page+" tells of ")
	selfContained(t, readText(t, page))
	if info, err := os.Stat(page); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("others may read the page: %v, %v", info, err)
	}
	expect(t, cli(t, "", env, "audit", "report", "--org", other, "--out", page), exitRefused, "organization_not_found")
	expect(t, cli(t, "", env, "audit", "report", "--out", page, "--format", "pdf"), exitUsage, "html or json")
	expect(t, cli(t, "", env, "audit", "report", "--out", page, "--from", "2999-01-01T00:00:00Z"), exitUsage, "--from")
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 2 {
		t.Errorf("what was not written is left: %v", files)
	}
}

func readText(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// selfContained holds a page to its elements and attributes: none of them runs or loads
// anything, and its policy allows its own style alone.
func selfContained(t *testing.T, page string) {
	t.Helper()
	style := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindAllStringSubmatch(page, -1)
	if len(style) != 1 {
		t.Fatalf("the page has %d styles", len(style))
	}
	sum := sha256.Sum256([]byte(style[0][1]))
	d := xml.NewDecoder(strings.NewReader(strings.Replace(page, style[0][0], "", 1)))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	names := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if text, ok := token.(xml.CharData); ok && strings.Contains(string(text), "<script>alert(1)") {
			names++
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		if strings.Contains(" script img iframe object embed link base form a foreignObject use image ", " "+e.Name.Local+" ") {
			t.Errorf("the page has the element %s", e.Name.Local)
		}
		for _, a := range e.Attr {
			if name := a.Name.Local; strings.HasPrefix(name, "on") || name == "href" || name == "src" || name == "style" {
				t.Errorf("%s has the attribute %s", e.Name.Local, name)
			}
			if a.Value == "Content-Security-Policy" && !strings.Contains(e.Attr[1].Value, "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
				t.Errorf("the policy is %v", e.Attr)
			}
		}
	}
	if names == 0 || !strings.Contains(page, "Content-Security-Policy") {
		t.Errorf("the page shows %d of the names, or has no policy", names)
	}
}
