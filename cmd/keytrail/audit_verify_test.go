package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/keytrail/keytrail/audit"
	"github.com/keytrail/keytrail/audit/evidence"
	"github.com/keytrail/keytrail/eventstore"
)

var witnessLine = regexp.MustCompile(`address=([0-9.:]+)`)

// startWitness is a witness as a process of its own: its address, and its verifier keys.
func startWitness(t *testing.T, dir string, logs []string) (url string, vkeys []string) {
	t.Helper()
	args := []string{"witness", "--listen", "127.0.0.1:0", "--name", "witness.test/1", "--key-file", filepath.Join(dir, "witness.key"), "--state", filepath.Join(dir, "state")}
	for _, k := range logs {
		args = append(args, "--log", k)
	}
	said := &safeBuffer{}
	cmd := exec.Command(binary, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = environ(), said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the witness ended with %v: %s", err, said)
		}
	})
	for deadline := time.Now().Add(time.Minute); ; {
		if m := witnessLine.FindStringSubmatch(said.String()); m != nil {
			for line := range strings.Lines(said.String()) {
				if strings.HasPrefix(line, "witness.test/1+") {
					vkeys = append(vkeys, strings.TrimSpace(line))
				}
			}
			return "http://" + m[1], vkeys
		}
		if time.Now().After(deadline) {
			t.Fatalf("the witness does not listen: %s", said)
		}
	}
}

// cosigned waits until a stream's checkpoint has all that was stored, and signatures of the witness.
func (r *running) cosigned(t *testing.T, stream string, atLeast int64) (checkpoint string) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond) // each look is a use
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		_, text := r.get(t, "/v1/trail/"+stream+"/checkpoint")
		c, err := audit.ParseCheckpoint([]byte(text))
		if err == nil && strings.Count(text, "— witness.test/1 ") == 2 && c.Size >= atLeast {
			return text
		}
	}
	t.Fatalf("no checkpoint of %s is cosigned", stream)
	return ""
}

// TestEvidenceIsCheckedOffline goes the auditor's way, from the keys to bundles that a witness's
// signature is on, with processes of their own for the service and the witness.
func TestEvidenceIsCheckedOffline(t *testing.T) {
	data, dir := t.TempDir(), t.TempDir()
	first := launch(t, data)
	_, keys := first.get(t, "/v1/trail/vkey")
	logKeys := strings.Fields(keys)
	first.end(t, syscall.SIGTERM)
	url, witnessKeys := startWitness(t, dir, logKeys)
	if len(logKeys) != 4 || len(witnessKeys) != 2 {
		t.Fatal(logKeys, witnessKeys)
	}
	policy := filepath.Join(dir, "policy")
	text := "log " + strings.Join(logKeys, "\nlog ") + "\nwitness ed " + witnessKeys[0] + " " + url + "\nwitness pq " + witnessKeys[1] + " " + url + "\ngroup one any ed pq\nquorum one\n"
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := launch(t, data, "--witness-policy", policy)
	org := r.newOrg(t)
	for range 20 {
		key := r.newKey(t, org)
		r.call(t, "POST", "/v1/verify", map[string]string{"key": key.Secret}, nil)
	}
	r.cosigned(t, "uses", 20)
	older := filepath.Join(dir, "older")
	if err := os.WriteFile(older, []byte(r.cosigned(t, "events", 21)), 0o600); err != nil {
		t.Fatal(err)
	}

	bundle, own := filepath.Join(dir, "all.ndjson"), filepath.Join(dir, "own.ndjson")
	expect(t, r.command(t, "", "audit", "export", "--out", bundle), exitOK)
	expect(t, r.command(t, "", "audit", "export", "--out", bundle), exitUsage) // it exists
	expect(t, r.command(t, "", "audit", "export", "--org", org, "--since", older, "--out", own), exitOK)
	proof := filepath.Join(dir, "proof.json")
	expect(t, r.command(t, "", "audit", "vkey"), exitOK, logKeys...)
	got := r.command(t, "", "audit", "proof", "3")
	if expect(t, got, exitOK); os.WriteFile(proof, []byte(got.out), 0o600) != nil {
		t.Fatal(got)
	}
	expect(t, r.command(t, "", "audit", "proof", "x"), exitRefused, "position")
	r.end(t, syscall.SIGTERM) // from here on there is no service

	verify := func(args ...string) told {
		return cli(t, "", environ(), append([]string{"audit", "verify"}, args...)...)
	}
	for _, args := range [][]string{{bundle, "--policy", policy, "--since", older}, {own, "--policy", policy, "--since", older}, {bundle, "--since", own, "--vkey", logKeys[0], "--vkey", logKeys[2]}, {proof, "--policy", policy}, {proof}, {bundle}} {
		got := verify(args...)
		expect(t, got, exitOK)
		if firstUse := strings.Contains(got.out, "Whose log it is"); firstUse != (len(args) == 1) {
			t.Errorf("%v: %s", args, got.out)
		}
		if len(args) > 2 && args[1] == "--policy" && !strings.Contains(got.out, "The witnesses that the policy asks for have signed") {
			t.Errorf("%v: %s", args, got.out)
		}
	}
	content, err := os.ReadFile(bundle)
	if err != nil {
		t.Fatal(err)
	}
	changed := filepath.Join(dir, "changed.ndjson")
	if err := os.WriteFile(changed, []byte(strings.Replace(string(content), `"a key"`, `"b key"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	got = verify(changed, "--policy", policy)
	if expect(t, got, exitRefused); !regexp.MustCompile(`events position \d+: what is here is not what was logged`).MatchString(got.err) {
		t.Error(got.err)
	}
	expect(t, verify(bundle, "--vkey", witnessKeys[0]), exitUsage)
	expect(t, verify(bundle, "--vkey", logKeys[0]), exitRefused) // of the other log no key is trusted
	expect(t, verify(proof, "--since", older), exitUsage)        // it does not tell
	if got := verify(own); !strings.Contains(got.out, " of organization "+org) {
		t.Error(got.out)
	}
	expect(t, verify(filepath.Join(dir, "none")), exitUsage)
	expect(t, verify(policy), exitRefused) // it is no bundle
	expect(t, verify(bundle, "--policy", bundle), exitUsage)
}

// TestAWitnessDoesNotForget takes the state from beside the keys.
func TestAWitnessDoesNotForget(t *testing.T) {
	dir := t.TempDir()
	log := "keytrail/0a1b2c3d/events+f21a2fa7+Aeua2kfmBSUuRvHMxyTuEO0RqiOzNtmTOJUA7SrLHP6f"
	args := []string{"witness", "--listen", "127.0.0.1:0", "--key-file", filepath.Join(dir, "witness.key"), "--state", filepath.Join(dir, "state"), "--log", log}
	expect(t, cli(t, "", environ(), args...), exitUsage) // the first start needs a name
	expect(t, cli(t, "", environ(), append(args, "--name", "our witness")...), exitUsage, "no space and no +")
	if err := os.RemoveAll(filepath.Join(dir, "state")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "witness.key"), []byte("PRIVATE+KEY+x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := cli(t, "", environ(), args...); got.code != exitUsage || !strings.Contains(got.err, "its state") || strings.Contains(got.err, "PRIVATE") {
		t.Errorf("%d %s", got.code, got.err)
	}
}

// TestWhatAFileSaysMovesNoCursor: a proof that an attacker has made and signed verifies under the
// keys that it names; what is said of that stays on the screen.
func TestWhatAFileSaysMovesNoCursor(t *testing.T) {
	secret, vkey, err := note.GenerateKey(nil, "mine/events")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	m := eventstore.Raw{Position: 1, Subject: "s", Data: []byte("\x1b[2J\u009b2J\rgood")}
	leaf := eventstore.Leaf{Stream: eventstore.Events, Position: 1, Subject: m.Subject, Body: m.Data}
	root := tlog.Hash(leaf.Hash())
	checkpoint, err := note.Sign(&note.Note{Text: "mine/events\n1\n" + root.String() + "\n"}, signer)
	if err != nil {
		t.Fatal(err)
	}
	proof := evidence.ProveEvent(&m)
	proof.Complete(nil, checkpoint, []string{vkey})
	text, err := json.Marshal(proof)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "proof.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	got := cli(t, "", environ(), "audit", "verify", file)
	if expect(t, got, exitOK); !strings.Contains(got.out, "Whose log it is") || strings.ContainsAny(got.out, "\x1b\r\u009b") {
		t.Errorf("%q", got.out)
	}
}
