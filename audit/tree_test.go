package audit

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/keytrail/keytrail/eventstore"
)

// TestATreeHasTheRootsOfAnotherImplementation compares sizes up to two full levels of tiles and some, and each tile with the hashes that it stands for.
func TestATreeHasTheRootsOfAnotherImplementation(t *testing.T) {
	const n = 256*256 + 300
	var ours tree
	theirs := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	var hashes []byte
	for i := range n {
		data := fmt.Append(nil, i)
		if err := theirs.Append(rfc6962.DefaultHasher.HashLeaf(data), nil); err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(data)...)
		ours.add(tlog.RecordHash(data), func(full tile) {
			if first := full.index * tileBytes; full.level == 0 && !bytes.Equal(full.data, hashes[first:first+tileBytes]) {
				t.Fatalf("tile %d is of other leaves", full.index)
			}
			if full.level == 1 && (full.index != 0 || i != 256*256-1) {
				t.Fatalf("tile %d of level 1 is full after leaf %d", full.index, i)
			}
		})
		if i > 1000 && i < 256*256-300 && i%97 != 0 {
			continue
		}
		want, err := theirs.GetRootHash(nil)
		if err != nil {
			t.Fatal(err)
		}
		if root := ours.root(); !bytes.Equal(root[:], want) || ours.size != int64(i+1) {
			t.Fatalf("the root of %d leaves is %x, want %x", i+1, root, want)
		}
	}
	for i, p := range ours.partial() {
		if at := edgeOf(n)[p.level]; p.index != at.N || len(p.data) != at.W*tlog.HashSize {
			t.Errorf("tile %d at the edge is %d.%d with %d bytes, want %v", i, p.level, p.index, len(p.data), at)
		}
	}
}

func TestTheEmptyTreeHasTheHashOfNothing(t *testing.T) {
	if root := new(tree).root(); root != sha256.Sum256(nil) {
		t.Errorf("%x", root)
	}
}

func TestACheckpointIsSignedWithEachAlgorithm(t *testing.T) {
	keys := NewKeys([32]byte{7})
	const base = "keytrail.example/89abcdef"
	signers, err := keys.signers(base+"/events", 1)
	if err != nil {
		t.Fatal(err)
	}
	var tr tree
	tr.add(tlog.RecordHash([]byte("a")), nil)
	c, err := sign(base+"/events", &tr, signers)
	if err != nil {
		t.Fatal(err)
	}
	vkeys, err := keys.Verifiers(base, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, vkey := range vkeys["events"] {
		v, err := NewVerifier(vkey)
		if err != nil {
			t.Fatal(err)
		}
		got, err := OpenCheckpoint(c.Note, v)
		if err != nil || got.Size != 1 || got.Root != eventstore.Hash(tlog.RecordHash([]byte("a"))) || got.Origin != base+"/events" {
			t.Errorf("%+v, %v", got, err)
		}
	}
	next, err := keys.Verifiers(base, 2)
	if err != nil {
		t.Fatal(err)
	}
	for name, others := range map[string][]string{"of the other stream": vkeys["uses"], "of the next generation": next["events"]} {
		verifiers, err := Verifiers(others)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := OpenCheckpoint(c.Note, verifiers...); err == nil {
			t.Errorf("keys %s verify it", name)
		}
	}
}

func TestWhatIsNoCheckpointIsRefused(t *testing.T) {
	signer, verifier := ed25519Pair(t)
	for name, text := range map[string]string{
		"no size":           "o\n\nAAAA\n",
		"a leading zero":    "o\n01\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
		"a short root":      "o\n1\nAAAA\n",
		"an extension line": "o\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nmore\n",
		"no origin":         "\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
		"a huge size":       "o\n18446744073709551615\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
		"bits beyond":       "o\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=\n",
	} {
		signed, err := note.Sign(&note.Note{Text: text}, signer)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := OpenCheckpoint(signed, verifier); err == nil {
			t.Errorf("%s: read as %+v", name, c)
		}
	}
	good, err := note.Sign(&note.Note{Text: "o\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"}, signer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCheckpoint(good, verifier); err != nil {
		t.Error("the empty log:", err)
	}
	if _, err := OpenCheckpoint(bytes.Replace(good, []byte("o\n0"), []byte("o\n1"), 1), verifier); err == nil {
		t.Error("another size was taken")
	}
}

func ed25519Pair(t *testing.T) (note.Signer, note.Verifier) {
	t.Helper()
	secret, public, err := note.GenerateKey(rand.Reader, "o")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return signer, verifier
}

func TestAVerifierKeyWhoseIDIsAnothersIsRefused(t *testing.T) {
	vkeys, err := NewKeys([32]byte{7}).Verifiers("o", 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, vkey := range vkeys["events"] {
		for _, broken := range []string{"", "o", "x" + vkey, vkey[:len("o/events+")] + "00000000" + vkey[len("o/events+00000000"):], vkey[:len(vkey)-4]} {
			if _, err := NewVerifier(broken); err == nil {
				t.Errorf("%.60q was taken", broken)
			}
		}
	}
}

func TestKeysAreNotPrinted(t *testing.T) {
	if printed := fmt.Sprintf("%v %+v %x", NewKeys([32]byte{7}), NewKeys([32]byte{7}), NewKeys([32]byte{7})); printed != "[keys] [keys] [keys]" {
		t.Error(printed)
	}
}
