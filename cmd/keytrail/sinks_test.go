package main

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/domain"
)

// TestASinksLifeOnTheCommandLine: a webhook is created, tested, gets what happens, and goes on after
// a restart; its credentials are in no answer, log or file of the service.
func TestASinksLifeOnTheCommandLine(t *testing.T) {
	received := make(chan string, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Authorization") != "open-sesame" || !strings.HasPrefix(r.Header.Get("Webhook-Signature"), "v1,") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		received <- string(body)
	}))
	defer receiver.Close()
	until := func(what string) {
		t.Helper()
		for !strings.Contains(<-received, what) {
		}
	}
	data := t.TempDir()
	r := launch(t, data, "--sink-networks", "127.0.0.1/32")
	org := r.newOrg(t)
	headers := filepath.Join(t.TempDir(), "headers")
	if err := os.WriteFile(headers, []byte("Authorization: open-sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	create := []string{"sinks", "create", "--org", org, "--name", "siem", "--type", "webhook", "--url", receiver.URL}
	told := r.command(t, "", append(create, "--headers-file", headers, "--set", "sign_asymmetric=true", "--uses", "sampled/10", "--json")...)
	var created struct {
		Sink   api.Sink `json:"sink"`
		Secret string   `json:"signing_secret"`
	}
	fromJSON(t, told, &created)
	id := string(created.Sink.ID)
	if !strings.HasPrefix(created.Secret, "whsec_") || created.Sink.Uses != (domain.SinkUses{Mode: "sampled", OneIn: 10}) {
		t.Errorf("created %+v", told)
	}
	expect(t, r.command(t, "", "sinks", "test", id), exitOK, "200")
	until("sink.test")
	m := r.newKey(t, org)
	until(m.Key.ID)
	expect(t, r.command(t, "", "sinks", "list", "--org", org), exitOK, id, "active")
	expect(t, r.command(t, "", "sinks", "show", id), exitOK, "headers", "whpk_", "delivered")
	expect(t, r.command(t, "", "sinks", "attempts", id), exitOK, "200")
	expect(t, r.command(t, "", "sinks", "update", id, "--name", "other", "--event-type", "key.created,key.revoked"), exitOK, "other")
	expect(t, r.command(t, "", "sinks", "update", id, "--url", "https://elsewhere.example.com"), exitRefused, "settings.headers")
	expect(t, r.command(t, "", "sinks", "pause", id), exitOK, "paused (operator)")

	while := r.newKey(t, org)
	if code := r.end(t, syscall.SIGTERM); code != exitOK {
		t.Errorf("exit code %d: %s", code, r.said)
	}
	logged := r.said.String()
	r = launch(t, data, "--sink-networks", "127.0.0.1/32")
	expect(t, r.command(t, "", "sinks", "resume", id), exitOK, "active")
	until(while.Key.ID)
	expect(t, r.command(t, "", "sinks", "replay", id, "--from", "beginning"), exitOK, id)
	until(m.Key.ID)
	rotated := r.command(t, "", "sinks", "rotate-secret", id, "--overlap", "1h")
	expect(t, rotated, exitOK, "whsec_")
	expect(t, r.command(t, "", "sinks", "dead-letters", id), exitOK, "REJECTED")
	expect(t, r.command(t, "open-elsewhere", "sinks", "create", "--name", "hec", "--type", "splunk_hec", "--url", "https://splunk.example.com:8088", "--token-file", "-", "--json"), exitOK, `"token"`)

	expect(t, r.command(t, "", "sinks", "create", "--name", "inside", "--type", "webhook", "--url", "http://10.0.0.1/"), exitRefused, "a private address")
	expect(t, r.command(t, "", "sinks", "create", "--name", "inside", "--type", "kafka", "--set", "brokers=[::1]:9092", "--set", "topic=t"), exitRefused, "a loopback address")
	for name, args := range map[string][]string{
		"is a credential": append(create, "--set", "token=t"), "no such setting": append(create, "--set", "nothing=1"), "not what it can be": append(create, "--set", "sign_asymmetric=perhaps"),
		"not like sampled": append(create, "--uses", "sampled/x"), "standard input": append(create, "--token-file", "-", "--headers-file", "-"), "not like Name": append(create, "--headers-file", "-"),
	} {
		expect(t, r.command(t, "no header", args...), exitUsage, name)
	}
	expect(t, r.command(t, "", "sinks", "delete", id), exitOK)
	expect(t, r.command(t, "", "sinks", "show", id), exitRefused, "sink_not_found")
	_ = r.end(t, syscall.SIGTERM)
	logged += r.said.String()
	if strings.Contains(logged, "open-") || strings.Contains(logged, "whsec_") {
		t.Error("a credential is logged")
	}
	secret := strings.TrimPrefix(created.Secret, "whsec_")
	err := filepath.WalkDir(data, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return unlessGone(err)
		}
		text, err := os.ReadFile(path)
		for _, credential := range []string{"open-sesame", "open-elsewhere", secret} {
			if strings.Contains(string(text), credential) {
				t.Errorf("%s has a credential", path)
			}
		}
		return unlessGone(err)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// unlessGone is nil for a file of NATS's that was there a moment ago.
func unlessGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// TestEveryCredentialComesFromAFile, and every setting is one that --set knows.
func TestEveryCredentialComesFromAFile(t *testing.T) {
	for _, e := range domain.SinkTypes {
		for _, name := range e.Credentials {
			if _, err := parseSetting(name, "x"); err == nil || !strings.Contains(err.Error(), "-file") {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, name := range e.Settings {
			if v, err := parseSetting(name, "1"); err != nil {
				t.Errorf("%s: %v, %v", name, v, err)
			} else if _, err := json.Marshal(v); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestTheStatusOfASinkIsShort: no certificates are in it, and its lines have an order.
func TestTheStatusOfASinkIsShort(t *testing.T) {
	s := api.Sink{PublicKey: "whpk_a", Uses: domain.SinkUses{Mode: "sampled", OneIn: 10}, Settings: domain.SinkSettings{CA: "-----BEGIN CERTIFICATE-----\nMIIB", Index: "trail"}}
	st := domain.SinkStatus{FailingSince: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC), LastError: "connection refused", LastErrorAt: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
	var b strings.Builder
	writeSinkStatus(&b, &s, &st)
	if !strings.Contains(b.String(), `settings      {"index":"trail","ca":"given"}`) {
		t.Errorf("the settings are not short: %s", &b)
	}
	if !strings.Contains(b.String(), "events        all\nuses          sampled/10\n") {
		t.Errorf("what it gets is not there: %s", &b)
	}
	if want := "public key    whpk_a\nfailing since 2026-11-20T12:00:00Z\nlast error    connection refused\nat            2026-11-21T12:00:00Z\n"; !strings.HasSuffix(b.String(), want) {
		t.Errorf("%s does not end with %s", &b, want)
	}
}
