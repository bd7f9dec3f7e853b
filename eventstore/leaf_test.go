package eventstore

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/mod/sumdb/tlog"
)

var leafTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// hashReader is the hashes of a tree as tlog stores them.
type hashReader []tlog.Hash

func (r hashReader) ReadHashes(indexes []int64) (hashes []tlog.Hash, err error) {
	for _, i := range indexes {
		hashes = append(hashes, r[i])
	}
	return hashes, nil
}

func usesOf(n int) *Raw {
	var b UseBatch
	for i := range n {
		b.Add(domain.NewOrgID("acme"), &domain.KeyUsed{Key: domain.NewKeyID("", fmt.Sprint(i)), Code: domain.UseValid, At: leafTime}, 12)
	}
	m := usesMessage("node-1", &b)
	return &Raw{Position: 3, Subject: m.Subject, Header: m.Header, Data: m.Data}
}

// TestATreeOfUsesIsThatOfRFC6962 compares with another implementation of it.
func TestATreeOfUsesIsThatOfRFC6962(t *testing.T) {
	for n := 1; n <= 40; n++ {
		tree, err := NewUseTree(usesOf(n))
		if err != nil || len(tree.Lines) != n {
			t.Fatal(len(tree.Lines), err)
		}
		var all hashReader
		for i, line := range tree.Lines {
			salt := tree.Salt(i)
			stored, err := tlog.StoredHashes(int64(i), append(salt[:], line...), all)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, stored...)
		}
		root, err := tlog.TreeHash(int64(n), all)
		if err != nil || root != tlog.Hash(tree.Root()) {
			t.Fatalf("%d uses: root %v, not %v, %v", n, tree.Root(), root, err)
		}
		for i := range n {
			var proof tlog.RecordProof
			for _, h := range tree.Proof(i) {
				proof = append(proof, h)
			}
			if err := tlog.CheckRecord(proof, int64(n), root, int64(i), tlog.Hash(HashUse(tree.Salt(i), tree.Lines[i]))); err != nil {
				t.Errorf("use %d of %d: %v", i, n, err)
			}
		}
	}
}

func TestSaltsOfUsesDiffer(t *testing.T) {
	m := usesOf(3)
	tree, err := NewUseTree(m)
	if err != nil {
		t.Fatal(err)
	}
	other := usesOf(3)
	foreign, err := NewUseTree(other)
	if err != nil {
		t.Fatal(err)
	}
	salts := map[[SaltLength]byte]bool{tree.Salt(0): true, tree.Salt(1): true, tree.Salt(2): true, foreign.Salt(0): true}
	if len(salts) != 4 || tree.Root() == foreign.Root() {
		t.Error("salts are the same in another place or message")
	}
	delete(m.Header, headerPrivate)
	if _, err := NewUseTree(m); err == nil {
		t.Error("a message without a seed has a tree")
	}
}

// TestALeafIsWhatTheDocumentationSays spells one out, so that nobody changes the format of what
// was signed.
func TestALeafIsWhatTheDocumentationSays(t *testing.T) {
	m := &Raw{Position: 7, Subject: "keytrail.events.o.key.k", Header: map[string][]string{jetstream.MsgIDHeader: {"id-1"}}, Data: []byte(`{"a":1}`)}
	leaf, err := NewLeaf(Events, m)
	want := "keytrail-leaf-v1\n" + "\x00\x00\x00\x06events" + "\x00\x00\x00\x017" + "\x00\x00\x00\x04id-1" + "\x00\x00\x00\x17keytrail.events.o.key.k" + "\x00\x00\x00\x07{\"a\":1}"
	if err != nil || string(leaf.Append(nil)) != want {
		t.Errorf("%q, %v", leaf.Append(nil), err)
	}
	if got := leaf.Hash(); got != tlog.RecordHash([]byte(want)) {
		t.Errorf("hash %s", hex.EncodeToString(got[:]))
	}
	uses := usesOf(2)
	tree, _ := NewUseTree(uses)
	leaf, err = NewLeaf(Uses, uses)
	root := tree.Root()
	if want := fmt.Sprintf(`{"node":"node-1","position":12}`+"\n2\n%s", base64.StdEncoding.EncodeToString(root[:])); err != nil || string(leaf.Body) != want {
		t.Errorf("%q, %v; want %q", leaf.Body, err, want)
	}
	if bytes.Contains(leaf.Append(nil), []byte("VALID")) {
		t.Error("a leaf shows a use")
	}
}

// TestEveryEventFitsIntoALeaf: an entry's length in tlog-tiles has 16 bits.
func TestEveryEventFitsIntoALeaf(t *testing.T) {
	e := domain.KeyUpdated{Prefix: "kt_live_1", Header: domain.Header{At: leafTime, By: "system"}}
	name := strings.Repeat("x", maxEventBytes)
	e.Name = &name
	if _, err := Message(KeyRef("org_1", "key_1"), 0, Command{}, e); err == nil {
		t.Error("an event that is too long was not refused")
	}
	name = strings.Repeat("x", maxEventBytes-1000)
	m, err := Message(KeyRef("org_1", "key_1"), 0, Command{}, e)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := NewLeaf(Events, &Raw{Position: 1 << 63, Subject: m.Subject, Header: m.Header, Data: m.Data})
	if n := len(leaf.Append(nil)); err != nil || n > maxLeafBytes {
		t.Errorf("a leaf of %d bytes, %v", n, err)
	}
}

func TestAnEventNamesTheOneBeforeIt(t *testing.T) {
	e := domain.KeyDisabled{Prefix: `,"previous":"9"`, Header: domain.Header{At: leafTime}}
	for _, previous := range []Position{0, 1, 1 << 62} {
		m, err := Message(KeyRef("org_1", "key_1"), previous, Command{ID: "c", Correlation: `,"previous":"8"`}, e)
		if err != nil {
			t.Fatal(err)
		}
		r, err := readEvent(&Raw{Position: 1, Subject: m.Subject, Header: m.Header, Data: m.Data})
		if err != nil || r.Previous != previous {
			t.Errorf("%d, %v; want %d", r.Previous, err, previous)
		}
	}
}

func BenchmarkLeafOfUses(b *testing.B) {
	m := usesOf(300)
	for b.Loop() {
		leaf, err := NewLeaf(Uses, m)
		if err != nil {
			b.Fatal(err)
		}
		leaf.Hash()
	}
}
