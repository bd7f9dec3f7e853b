package evidence

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	tlogproof "github.com/transparency-dev/formats/proof"

	"github.com/keytrail/keytrail/eventstore"
)

// TestAnotherImplementationAgrees computes with transparency-dev/merkle what a whole bundle, and
// proofs, say.
func TestAnotherImplementationAgrees(t *testing.T) {
	tr := newTrail(t, 300)
	bundle := tr.bundle(t, choice{since: 117})
	r, err := verify(t, tr, bundle)
	if err != nil {
		t.Fatal(err)
	}
	all := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	for _, line := range lines(bundle) {
		var e event
		if !strings.HasPrefix(line, beginsEvent) {
			continue
		}
		if err := e.read([]byte(line)); err != nil {
			t.Fatal(err)
		}
		leaf := eventstore.Leaf{Stream: eventstore.Events, Position: e.Position, ID: e.ID, Subject: e.Subject, Body: e.Body}
		if err := all.Append(rfc6962.DefaultHasher.HashLeaf(leaf.Append(nil)), nil); err != nil {
			t.Fatal(err)
		}
		if e.Position == 117 {
			root, err := all.GetRootHash(nil)
			if err == nil {
				err = proof.VerifyConsistency(rfc6962.DefaultHasher, 117, 300, bytesOf(r.Manifest.Logs[0].Consistency.Hashes), root, r.Heads[0].Root[:])
			}
			if err != nil {
				t.Errorf("consistency: %v", err)
			}
		}
	}
	if root, err := all.GetRootHash(nil); err != nil || string(root) != string(r.Heads[0].Root[:]) {
		t.Errorf("the root is %x, not %s: %v", root, r.Heads[0].Root, err)
	}
	for p := 1; p <= 300; p += 13 {
		e := tr.proof(t, eventstore.Events, p, 0)
		leaf, err := e.leaf()
		if err != nil {
			t.Fatal(err)
		}
		included(t, e, r.Heads[0], leaf)
	}
	for p := range tr.messages[eventstore.Uses] {
		u := tr.proof(t, eventstore.Uses, p+1, 0)
		leaf, err := u.leaf()
		if err != nil {
			t.Fatal(err)
		}
		included(t, u, r.Heads[1], leaf)
		h := rfc6962.DefaultHasher.HashLeaf(append(u.Use.Salt, u.Use.Line...))
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, 0, uint64(u.Use.Count), h, bytesOf(u.Use.Path), u.Use.Root[:]); err != nil {
			t.Errorf("use %d.0: %v", p+1, err)
		}
	}
}

// included checks a proof's inclusion in the tree of a head.
func included(t *testing.T, p *Proof, head Head, leaf eventstore.Leaf) {
	t.Helper()
	var of tlogproof.TLogProof
	if err := of.Unmarshal([]byte(p.TlogProof)); err != nil {
		t.Fatal(err)
	}
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, of.Index, head.Size, rfc6962.DefaultHasher.HashLeaf(leaf.Append(nil)), bytesOf(of.Hashes), head.Root[:]); err != nil {
		t.Errorf("%s %d: %v", p.Stream, p.Position, err)
	}
}

func bytesOf[H ~[32]byte](of []H) (all [][]byte) {
	for _, h := range of {
		all = append(all, h[:])
	}
	return all
}

// FuzzVerify looks for a bundle that is taken and is not the one that was written, or that ends
// the program.
func FuzzVerify(f *testing.F) {
	tr := newTrail(f, 8)
	whole, own := tr.bundle(f, choice{}), tr.bundle(f, choice{org: acme})
	trust := tr.trust(f)
	_, content, _ := strings.Cut(whole, "\n")
	_, ownContent, _ := strings.Cut(own, "\n")
	f.Add(content, false)
	f.Add(ownContent, true)
	f.Add(`{"log":"events"}`+"\n"+`{"subtree":[0,8],"level":2,"hashes":["",""]}`+"\n", false)
	f.Add(`{"event":9223372036854775807,"id":"","subject":"","body":{}}`+"\n", true)
	manifest, _, _ := strings.Cut(whole, "\n")
	ownManifest, _, _ := strings.Cut(own, "\n")
	f.Fuzz(func(t *testing.T, text string, isOwn bool) {
		bundle, original := manifest+"\n"+text, whole
		if isOwn {
			bundle, original = ownManifest+"\n"+text, own
		}
		if _, err := Verify(strings.NewReader(bundle), Options{Trust: trust}); err == nil && bundle != original && !isOwn {
			t.Errorf("taken: %s", text)
		}
	})
}

// FuzzVerifyProof looks for a proof that is taken and says something else than was written.
func FuzzVerifyProof(f *testing.F) {
	tr := newTrail(f, 8)
	known := map[string]bool{}
	for _, p := range []*Proof{tr.proof(f, eventstore.Events, 3, 0), tr.proof(f, eventstore.Uses, 2, 1)} {
		known[p.Identity()+p.Text()] = true
		f.Add(jsonText(f, p))
	}
	trust := tr.trust(f)
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := VerifyProof([]byte(text), trust); err == nil && !known[p.Proof.Identity()+p.Proof.Text()] {
			t.Errorf("taken: %s", text)
		}
	})
}

// FuzzOlder looks for a file that ends the program.
func FuzzOlder(f *testing.F) {
	tr := newTrail(f, 3)
	f.Add(tr.bundle(f, choice{}))
	f.Add(tr.checkpoint(f, eventstore.Events, 3))
	f.Fuzz(func(t *testing.T, text string) {
		heads, err := ReadOlder([]byte(text))
		if _, marshals := json.Marshal(heads); err == nil && marshals != nil {
			t.Error(marshals)
		}
	})
}
