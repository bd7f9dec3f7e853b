package evidence

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/formats/log"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

var acme, globex = domain.NewOrgID("acme"), domain.NewOrgID("globex")

// A trail is what a ledger has of both streams, with the hashes of their logs.
type trail struct {
	messages [2][]*eventstore.Raw
	stored   [2][]tlog.Hash
	origin   string
	signers  [2][]note.Signer
	keys     []string
}

// newTrail has n events of 7 keys of each of two organizations, turn about, and n/5 messages of uses.
func newTrail(t testing.TB, n int) *trail {
	t.Helper()
	l := eventstoretest.New(t)
	last := map[eventstore.Ref]eventstore.Position{}
	for i := range n {
		org := []domain.OrgID{acme, globex}[i%2]
		ref := eventstore.KeyRef(org, domain.NewKeyID(org, fmt.Sprint(i%14)))
		p, err := l.Append(t.Context(), ref, last[ref], eventstore.Command{ID: fmt.Sprint(i)}, domain.KeyDisabled{Prefix: "kt_live_1", Header: domain.Header{At: noon, By: "system"}})
		if err != nil {
			t.Fatal(err)
		}
		last[ref] = p
		if i%5 == 0 {
			var b eventstore.UseBatch
			for j := range 1 + i%7 {
				org := []domain.OrgID{acme, globex}[j%2]
				b.Add(org, &domain.KeyUsed{Key: domain.NewKeyID(org, "k"), Code: domain.UseValid, At: noon, IP: "192.0.2.7"}, p)
			}
			if _, err := l.AppendUses(t.Context(), &b); err != nil {
				t.Fatal(err)
			}
		}
	}
	tr := &trail{origin: "keytrail/0a1b2c3d"}
	for _, s := range eventstore.Streams {
		end, err := l.End(t.Context(), s)
		if err == nil {
			err = l.Copy(t.Context(), s, 0, end, func(m *eventstore.Raw) error { return tr.add(s, m) })
		}
		if err != nil {
			t.Fatal(err)
		}
		tr.makeKeys(t, s)
	}
	return tr
}

func (tr *trail) add(s eventstore.Stream, m *eventstore.Raw) error {
	leaf, err := eventstore.NewLeaf(s, m)
	if err != nil {
		return err
	}
	stored, err := tlog.StoredHashesForRecordHash(int64(len(tr.messages[s])), tlog.Hash(leaf.Hash()), tr.reader(s))
	tr.messages[s], tr.stored[s] = append(tr.messages[s], m), append(tr.stored[s], stored...)
	return err
}

func (tr *trail) reader(s eventstore.Stream) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) (hashes []tlog.Hash, err error) {
		for _, i := range indexes {
			hashes = append(hashes, tr.stored[s][i])
		}
		return hashes, nil
	})
}

func (tr *trail) makeKeys(t testing.TB, s eventstore.Stream) {
	name := tr.origin + "/" + s.String()
	secret, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	ed, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	secret2, public2, err := fnote.GenerateMLDSAKey(name)
	if err != nil {
		t.Fatal(err)
	}
	pq, err := fnote.NewMLDSASigner(secret2)
	if err != nil {
		t.Fatal(err)
	}
	tr.signers[s], tr.keys = []note.Signer{ed, pq}, append(tr.keys, public, public2)
}

// checkpoint is that of the first messages of a stream.
func (tr *trail) checkpoint(t testing.TB, s eventstore.Stream, size int, more ...note.Signer) string {
	t.Helper()
	root, err := tlog.TreeHash(int64(size), tr.reader(s))
	if err != nil {
		t.Fatal(err)
	}
	return signed(t, tr.origin+"/"+s.String(), size, root, append(slices.Clone(tr.signers[s]), more...)...)
}

func signed(t testing.TB, origin string, size int, root tlog.Hash, signers ...note.Signer) string {
	t.Helper()
	text, err := note.Sign(&note.Note{Text: string(log.Checkpoint{Origin: origin, Size: uint64(size), Hash: root[:]}.Marshal())}, signers...)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (tr *trail) trust(t testing.TB) (all Trust) {
	t.Helper()
	for _, k := range tr.keys {
		if err := all.AddKey(k); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// A choice is what of a trail goes into a bundle.
type choice struct {
	org         domain.OrgID
	first, last int // of the events; 0: the first, and the last
	since       int // of the events: 0: no consistency proof
}

// bundle is a bundle of a trail.
func (tr *trail) bundle(t testing.TB, c choice, more ...note.Signer) string {
	t.Helper()
	var sources []Source
	for _, s := range eventstore.Streams {
		size := len(tr.messages[s])
		l := Log{Stream: s.String(), First: 1, Last: eventstore.Position(size), Checkpoint: tr.checkpoint(t, s, size, more...)}
		if s == eventstore.Events && c.first > 0 {
			l.First, l.Last = eventstore.Position(c.first), eventstore.Position(c.last)
		}
		if s == eventstore.Events && c.since > 0 {
			proof, err := tlog.ProveTree(int64(size), int64(c.since), tr.reader(s))
			if err != nil {
				t.Fatal(err)
			}
			l.Consistency = NewConsistency(uint64(c.since), proof)
		}
		sources = append(sources, Source{Log: l, Size: uint64(size), Hashes: tr.reader(s), Messages: tr.of(s, c.org, l)})
	}
	var b bytes.Buffer
	if err := Write(&b, Manifest{Version: "test", At: noon, Organization: c.org, VerifierKeys: tr.keys}, sources...); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// of are the messages of a log that Write is to be given.
func (tr *trail) of(s eventstore.Stream, org domain.OrgID, l Log) iter.Seq2[*eventstore.Raw, error] {
	return func(yield func(*eventstore.Raw, error) bool) {
		for _, m := range tr.messages[s] {
			own := s == eventstore.Uses || org == "" || strings.Contains(m.Subject, string(org))
			if own && m.Position >= l.First && m.Position <= l.Last && !yield(m, nil) {
				return
			}
		}
	}
}

func verify(t testing.TB, tr *trail, bundle string, older ...Head) (Report, error) {
	t.Helper()
	return Verify(strings.NewReader(bundle), Options{Trust: tr.trust(t), Older: older})
}

// TestBundlesVerify makes bundles of ledgers of many sizes.
func TestBundlesVerify(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 14, 255, 256, 257, 600} {
		tr := newTrail(t, n)
		r, err := verify(t, tr, tr.bundle(t, choice{}))
		if err != nil || r.Counts.Events != uint64(n) || r.Counts.Messages != uint64(len(tr.messages[1])) || r.Histories != min(n, 14) || r.FirstUse {
			t.Errorf("%d events: %v, %+v", n, err, r)
		}
		uses := r.Counts.Uses
		for _, org := range []domain.OrgID{acme, globex} {
			r, err := verify(t, tr, tr.bundle(t, choice{org: org}))
			if want := uint64(n+1) / 2; err != nil || org == acme && r.Counts.Events != want {
				t.Errorf("%d events, bundle of %s: %v, %+v", n, org, err, r)
			}
			uses -= r.Counts.Uses
		}
		if uses != 0 {
			t.Errorf("%d uses more or less in the bundles of organizations", uses)
		}
		for _, between := range [][2]int{{1, n}, {2, n - 1}, {n, n}, {n/2 + 1, n - n/4}} {
			if between[0] < 1 || between[1] < between[0] {
				continue
			}
			r, err := verify(t, tr, tr.bundle(t, choice{first: between[0], last: between[1]}))
			if want := between[1] - between[0] + 1; err != nil || r.Counts.Events != uint64(want) {
				t.Errorf("%v of %d events: %v, %+v", between, n, err, r)
			}
		}
	}
}

// TestABundleOfAnOrganizationShowsNothingOfOthers looks for the other organization's.
func TestABundleOfAnOrganizationShowsNothingOfOthers(t *testing.T) {
	tr := newTrail(t, 50)
	if b := tr.bundle(t, choice{org: acme}); strings.Contains(b, string(globex)) || !strings.Contains(b, string(acme)) {
		t.Error("it names another organization")
	}
	for _, org := range []domain.OrgID{"", acme} {
		if b := tr.bundle(t, choice{org: org}); strings.Contains(b, "Keytrail-Private") {
			t.Error("it has a private header")
		}
	}
}

// lines cuts a bundle into its lines.
func lines(bundle string) []string { return strings.Split(strings.TrimSuffix(bundle, "\n"), "\n") }

func joined(lines []string) string { return strings.Join(lines, "\n") + "\n" }

// at is the index of the line that begins so.
func at(t testing.TB, all []string, begin string) int {
	t.Helper()
	i := slices.IndexFunc(all, func(l string) bool { return strings.HasPrefix(l, begin) })
	if i < 0 {
		t.Fatalf("no line begins with %s", begin)
	}
	return i
}

// The ways to falsify a bundle, and the first position that is wrong then.
var falsifications = map[string]struct {
	org   domain.OrgID
	with  func(t *testing.T, l []string) []string
	wrong string // "": no position is named
}{
	"an event is changed": {"", func(t *testing.T, l []string) []string {
		i := at(t, l, `{"event":17,`)
		l[i] = strings.Replace(l[i], "kt_live_1", "kt_live_2", 1)
		return l
	}, "events position 17:"},
	"an event is changed, and the hashes above it": {"", func(t *testing.T, l []string) []string {
		i := at(t, l, `{"event":17,`)
		l[i] = strings.Replace(l[i], "kt_live_1", "kt_live_2", 1)
		var e event
		if err := e.read([]byte(l[i])); err != nil {
			t.Fatal(err)
		}
		leaf := eventstore.Leaf{Stream: eventstore.Events, Position: 17, ID: e.ID, Subject: e.Subject, Body: e.Body}
		return replaceHash(t, l, 16, hash(leaf.Hash()))
	}, "events position 1:"}, // the line of hashes that was changed comes before it
	"an event's id is changed": {"", func(t *testing.T, l []string) []string {
		i := at(t, l, `{"event":18,`)
		l[i] = strings.Replace(l[i], `"id":"0`, `"id":"1`, 1)
		return l
	}, "events position 18:"},
	"an event's position is written in another way": {"", func(t *testing.T, l []string) []string {
		i := at(t, l, `{"event":18,`)
		l[i] = strings.Replace(l[i], `{"event":18,`, `{"event":18,"event":18,`, 1)
		return l
	}, "events position 18:"},
	"an event is removed": {"", func(t *testing.T, l []string) []string {
		i := at(t, l, `{"event":17,`)
		return slices.Delete(l, i, i+1)
	}, "events position 17:"},
	"an organization's event is removed": {acme, func(t *testing.T, l []string) []string {
		i := at(t, l, `{"event":17,`)
		return slices.Delete(l, i, i+1)
	}, "events position 17:"},
	"events are reordered": {"", func(t *testing.T, l []string) []string {
		i := at(t, l, `{"event":17,`)
		l[i], l[i+1] = l[i+1], l[i]
		return l
	}, "events position 17:"},
	"an organization's events are reordered": {acme, func(t *testing.T, l []string) []string {
		i, j := at(t, l, `{"event":17,`), at(t, l, `{"event":19,`)
		l[i], l[j] = l[j], l[i]
		return l
	}, "events position 17:"},
	"an event comes twice": {"", func(t *testing.T, l []string) []string {
		i := at(t, l, `{"event":17,`)
		return slices.Insert(l, i, l[i])
	}, "events position 17:"},
	"an event is inserted, and those after it are counted on": {"", func(t *testing.T, l []string) []string {
		i := at(t, l, `{"event":17,`)
		l = slices.Insert(l, i, strings.Replace(l[i-1], `{"event":16,`, `{"event":17,`, 1))
		l[i+1] = strings.Replace(l[i+1], `{"event":17,`, `{"event":18,`, 1)
		return l
	}, "events position 17:"},
	"an event of another trail is inserted": {"", func(t *testing.T, l []string) []string {
		other := newTrail(t, 40)
		o := lines(other.bundle(t, choice{}))
		l[at(t, l, `{"event":17,`)] = o[at(t, o, `{"event":17,`)]
		return l
	}, "events position 17:"},
	"the last event is removed": {"", func(t *testing.T, l []string) []string {
		i := at(t, l, `{"event":40,`)
		return slices.Delete(l, i, i+1)
	}, "events position 40:"},
	"the last event is removed, and the manifest changed": {"", func(t *testing.T, l []string) []string {
		l[0] = strings.Replace(l[0], `"last":40`, `"last":39`, 1)
		return l
	}, "events position 40:"},
	"the first event is removed, and the manifest changed": {"", func(t *testing.T, l []string) []string {
		l[0] = strings.Replace(l[0], `"first":1`, `"first":2`, 1)
		i := at(t, l, `{"event":1,`)
		return slices.Delete(l, i, i+1)
	}, ""},
	"the file is cut off":             {"", func(t *testing.T, l []string) []string { return l[:at(t, l, `{"event":17,`)] }, "events position 17:"},
	"the file is cut off in the uses": {"", func(t *testing.T, l []string) []string { return l[:at(t, l, `{"message":3,`)] }, "uses position 3:"},
	"the end is missing":              {"", func(t *testing.T, l []string) []string { return l[:len(l)-1] }, "uses position 9:"},
	"the uses are missing": {"", func(t *testing.T, l []string) []string {
		return append(l[:at(t, l, `{"log":"uses"}`)+1], l[len(l)-1])
	}, "uses position 1:"},
	"there is something after the end": {"", func(t *testing.T, l []string) []string { return append(l, l[len(l)-1]) }, ""},
	"the hashes are removed": {"", func(t *testing.T, l []string) []string {
		i := at(t, l, `{"subtree":`)
		return slices.Delete(l, i, i+1)
	}, "events position 1:"},
	"a message's head is changed": {"", func(t *testing.T, l []string) []string {
		i := at(t, l, `{"message":3,`)
		l[i] = strings.Replace(l[i], `"position":`, `"position":1`, 1)
		return l
	}, "uses position 3:"},
	"a use is changed": {"", func(t *testing.T, l []string) []string {
		i := at(t, l, `{"use":"4.0",`)
		l[i] = strings.Replace(l[i], "VALID", "REVOKED", 1)
		return l
	}, "uses position 4:"},
	"a use of an organization is changed": {acme, func(t *testing.T, l []string) []string {
		i := at(t, l, `{"use":"4.0",`)
		l[i] = strings.Replace(l[i], "VALID", "REVOKED", 1)
		return l
	}, "uses position 4:"},
	"a use is said to be another": {acme, func(t *testing.T, l []string) []string {
		i := at(t, l, `{"use":"4.0",`)
		l[i] = strings.Replace(l[i], `"4.0"`, `"4.1"`, 1)
		return l
	}, "uses position 4:"},
	"a use is removed": {"", func(t *testing.T, l []string) []string {
		i := at(t, l, `{"use":"3.1",`)
		return slices.Delete(l, i, i+1)
	}, "uses position 3:"},
	"a use comes twice": {"", func(t *testing.T, l []string) []string {
		i := at(t, l, `{"use":"3.0",`)
		return slices.Insert(l, i, l[i])
	}, "uses position 3:"},
	"uses are reordered": {"", func(t *testing.T, l []string) []string {
		i := at(t, l, `{"use":"3.0",`)
		l[i], l[i+1] = l[i+1], l[i]
		return l
	}, "uses position 3:"},
	"a use of an organization comes twice": {acme, func(t *testing.T, l []string) []string {
		i := at(t, l, `{"use":"3.0",`)
		return slices.Insert(l, i, l[i])
	}, "uses position 3:"},
	"the bundle is said to be of another organization": {acme, func(t *testing.T, l []string) []string {
		l[0] = strings.Replace(l[0], string(acme), string(globex), 1)
		return l
	}, "events position 1:"},
	"the bundle of an organization is said to be of all": {acme, func(t *testing.T, l []string) []string {
		l[0] = strings.Replace(l[0], `"organization":"`+string(acme)+`",`, "", 1)
		return l
	}, "events position 2:"},
	"a checkpoint is changed": {"", func(t *testing.T, l []string) []string {
		l[0] = strings.Replace(l[0], `/events\n40\n`, `/events\n41\n`, 1)
		return l
	}, ""},
	"the checkpoints are exchanged": {"", func(t *testing.T, l []string) []string {
		var m Manifest
		if err := json.Unmarshal([]byte(l[0]), &m); err != nil {
			t.Fatal(err)
		}
		m.Logs[0].Checkpoint, m.Logs[1].Checkpoint = m.Logs[1].Checkpoint, m.Logs[0].Checkpoint
		l[0] = jsonText(t, m)
		return l
	}, ""},
	"the checkpoints are exchanged, and nothing is said to be shown": {acme, func(t *testing.T, l []string) []string {
		var m Manifest
		if err := json.Unmarshal([]byte(l[0]), &m); err != nil {
			t.Fatal(err)
		}
		m.Logs[0].Checkpoint, m.Logs[1].Checkpoint = m.Logs[1].Checkpoint, m.Logs[0].Checkpoint
		m.Logs[0].Last, m.Logs[1].Last = 0, 0
		return []string{jsonText(t, m), `{"log":"events"}`, `{"log":"uses"}`, jsonText(t, end{})}
	}, ""},
	"there is no manifest": {"", func(t *testing.T, l []string) []string { return l[1:] }, ""},
	"positions are out of all bounds": {"", func(t *testing.T, l []string) []string {
		l[0] = strings.Replace(l[0], `"last":40`, `"last":18446744073709551615`, 1)
		return l
	}, ""},
	"a bundle of an organization is said to go on after the checkpoint": {acme, func(t *testing.T, l []string) []string {
		l[0] = strings.Replace(l[0], `"last":40`, `"last":41`, 1)
		return l
	}, ""},
	"a position is negative": {"", func(t *testing.T, l []string) []string {
		i := at(t, l, `{"event":17,`)
		l[i] = strings.Replace(l[i], `{"event":17,`, `{"event":-17,`, 1)
		return l
	}, "events position 17:"},
	"a count is out of all bounds": {"", func(t *testing.T, l []string) []string {
		i := at(t, l, `{"message":3,`)
		l[i] = strings.Replace(l[i], `"count":`, `"count":99999999999`, 1)
		return l
	}, "uses position 3:"},
	"a line is endless": {"", func(t *testing.T, l []string) []string {
		return slices.Insert(l, 5, `{"event":`+strings.Repeat("1", 3*maxLine))
	}, "events position 3:"},
	"a line says nothing": {"", func(t *testing.T, l []string) []string { return slices.Insert(l, at(t, l, `{"event":17,`), "") }, "events position 17:"},
}

func jsonText(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// replaceHash changes the hash of a leaf in the line of hashes that has it.
func replaceHash(t testing.TB, l []string, leaf int, with hash) []string {
	t.Helper()
	i := at(t, l, `{"subtree":[0,40]`)
	var s subtree
	if err := s.read([]byte(l[i])); err != nil {
		t.Fatal(err)
	}
	s.Hashes[leaf] = with
	l[i] = string(s.append(nil))
	return l
}

// writeTo is where the test of falsified bundles leaves them for verifiers in other languages: a
// file with each, one with what a verifier has to say of it, and the verifier keys.
var writeTo = flag.String("bundles.write", "", "write the falsified bundles into this folder")

func write(t *testing.T, name, text string) {
	t.Helper()
	if *writeTo == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(*writeTo, strings.ReplaceAll(name, " ", "-")), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestTheFirstWrongPositionIsNamed falsifies a bundle in every way.
func TestTheFirstWrongPositionIsNamed(t *testing.T) {
	tr := newTrail(t, 40)
	write(t, "keys", strings.Join(tr.keys, "\n")+"\n")
	write(t, "whole.bundle", tr.bundle(t, choice{}))
	write(t, "whole.want", "good:\n")
	write(t, "own.bundle", tr.bundle(t, choice{org: acme}))
	write(t, "own.want", "good:\n")
	for name, f := range falsifications {
		t.Run(name, func(t *testing.T) {
			bundle := tr.bundle(t, choice{org: f.org})
			if _, err := verify(t, tr, bundle); err != nil {
				t.Fatal(err)
			}
			falsified := joined(f.with(t, lines(bundle)))
			write(t, name+".bundle", falsified)
			write(t, name+".want", "not good: "+f.wrong+"\n")
			_, err := verify(t, tr, falsified)
			if err == nil || f.wrong != "" && !strings.HasPrefix(err.Error(), f.wrong) {
				t.Errorf("%v; want %s", err, f.wrong)
			}
			if f.wrong != "" && !errors.As(err, new(*Wrong)) {
				t.Errorf("%T", err)
			}
		})
	}
}

// TestEveryByteCounts changes a byte here and there in all of a bundle's events and uses.
func TestEveryByteCounts(t *testing.T) {
	tr := newTrail(t, 6)
	trust := tr.trust(t)
	for _, org := range []domain.OrgID{"", acme} {
		bundle := tr.bundle(t, choice{org: org})
		for i := strings.IndexByte(bundle, '\n'); i < len(bundle); i += 7 {
			changed := []byte(bundle)
			changed[i] ^= 1
			if _, err := Verify(bytes.NewReader(changed), Options{Trust: trust}); err == nil {
				t.Errorf("byte %d can be changed in %.100s", i, bundle[i:])
			}
		}
	}
}

func TestKeysAreTrustedOnFirstUseOnly(t *testing.T) {
	tr, other := newTrail(t, 3), newTrail(t, 3)
	bundle := tr.bundle(t, choice{})
	if r, err := Verify(strings.NewReader(bundle), Options{}); err != nil || !r.FirstUse {
		t.Errorf("without keys: %v, first use %v", err, r.FirstUse)
	}
	if _, err := verify(t, other, bundle); err == nil {
		t.Error("a bundle that an unknown key has signed is taken")
	}
	var some Trust // of one generation, or of one algorithm
	for _, k := range []string{tr.keys[0], tr.keys[3]} {
		if err := some.AddKey(k); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := Verify(strings.NewReader(bundle), Options{Trust: some}); err != nil || len(r.Heads[0].SignedBy) != 1 {
		t.Errorf("%v, %+v", err, r.Heads)
	}
	if err := some.AddKey("nonsense"); err == nil {
		t.Error("nonsense is a key")
	}
}

// TestAKeySignsItsOwnLogAlone: that of the uses is trusted too, and has signed the events.
func TestAKeySignsItsOwnLogAlone(t *testing.T) {
	tr := newTrail(t, 5)
	tr.signers[eventstore.Events] = tr.signers[eventstore.Uses]
	if _, err := verify(t, tr, tr.bundle(t, choice{})); err == nil || !strings.Contains(err.Error(), "no trusted key of the log") {
		t.Error(err)
	}
}

func TestAPolicyNamesTheWitnesses(t *testing.T) {
	tr := newTrail(t, 5)
	var cosigners []note.Signer
	policy := ""
	for _, k := range tr.keys {
		policy += "log " + k + "\n"
	}
	for i := range 3 {
		secret, _, err := note.GenerateKey(rand.Reader, fmt.Sprint("witness", i))
		if err != nil {
			t.Fatal(err)
		}
		s, err := fnote.NewSignerForCosignatureV1(secret)
		if err != nil {
			t.Fatal(err)
		}
		cosigners = append(cosigners, s)
		policy += fmt.Sprintf("witness w%d %s\n", i, cosignerKey(t, secret))
	}
	policy += "group two 2 w0 w1 w2 # of three\nquorum two\n"
	trust, err := ParsePolicy([]byte(policy))
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range []bool{false, false, true, true} {
		r, err := Verify(strings.NewReader(tr.bundle(t, choice{}, cosigners[:n]...)), Options{Trust: trust})
		if (err == nil) != want || err == nil && (len(r.Heads[0].CosignedBy) != n || !r.Heads[1].QuorumAsked) {
			t.Errorf("%d cosignatures: %v, %+v", n, err, r.Heads)
		}
	}
	for _, bad := range []string{"", "quorum none\n", "log\nquorum none\n", "log x\nquorum none\n", "witness w x\nquorum w\n", policy + "group g 9 w0\n", "nonsense\n",
		policy + "quorum none\n", policy + "group g 1 w0\n", strings.Replace(policy, "two 2", "two 0", 1), strings.Replace(policy, "w0 w1 w2", "w0 w0 w0", 1), strings.Replace(policy, "witness w0 ", "witness w3 "+firstWitness(policy)+"\nwitness w0 ", 1)} {
		if _, err := ParsePolicy([]byte(bad)); err == nil {
			t.Errorf("a policy: %q", bad)
		}
	}
}

// firstWitness is the key of a policy's first witness.
func firstWitness(policy string) string {
	_, rest, _ := strings.Cut(policy, "witness w0 ")
	key, _, _ := strings.Cut(rest, "\n")
	return key
}

// cosignerKey is the verifier key of a witness.
func cosignerKey(t testing.TB, secret string) string {
	t.Helper()
	parts := strings.SplitN(secret, "+", 5) // PRIVATE+KEY+name+id+key
	seed, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil {
		t.Fatal(err)
	}
	public, err := note.NewEd25519VerifierKey(parts[2], ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	key, err := fnote.VKeyToCosignatureV1(public)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestOlderCheckpoints compares bundles with what an auditor has kept.
func TestOlderCheckpoints(t *testing.T) {
	tr, other := newTrail(t, 40), newTrail(t, 40)
	other.origin = tr.origin
	head := func(tr *trail, size int) Head {
		h, err := ReadOlder([]byte(tr.checkpoint(t, eventstore.Events, size)))
		if err != nil || len(h) != 1 {
			t.Fatal(h, err)
		}
		return h[0]
	}
	whole, part, proved := tr.bundle(t, choice{}), tr.bundle(t, choice{first: 30, last: 40}), tr.bundle(t, choice{org: acme, since: 17})
	kept, err := ReadOlder([]byte(whole))
	if err != nil || len(kept) != 2 {
		t.Fatal(kept, err)
	}
	for name, c := range map[string]struct {
		bundle string
		older  []Head
		wrong  string // "-": it verifies
	}{
		"a whole bundle tells by itself":       {whole, []Head{head(tr, 17)}, "-"},
		"at each size":                         {whole, []Head{head(tr, 1)}, "-"},
		"the same size":                        {whole, kept, "-"},
		"a bundle with a proof":                {proved, []Head{head(tr, 17)}, "-"},
		"a proof of another size":              {proved, []Head{head(tr, 18)}, "the bundle does not tell"},
		"a part without a proof":               {part, []Head{head(tr, 17)}, "the bundle does not tell"},
		"another log of the same name":         {whole, []Head{head(other, 17)}, "events position 17:"},
		"another log of the same name, proved": {proved, []Head{head(other, 17)}, "events position 17:"},
		"another log of the same size":         {whole, []Head{head(other, 40)}, "events position 40:"},
		"a longer log":                         {whole, []Head{{Origin: tr.origin + "/events", Size: 41}}, "events position 40:"},
		"a log of another name":                {whole, []Head{{Origin: "x/events", Size: 4}}, "the older checkpoint is of the log"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := verify(t, tr, c.bundle, c.older...)
			if c.wrong == "-" && (err != nil || len(r.Since) != len(c.older)) || c.wrong != "-" && (err == nil || !strings.HasPrefix(err.Error(), c.wrong)) {
				t.Errorf("%v; want %s", err, c.wrong)
			}
		})
	}
	if _, err := ReadOlder([]byte("nonsense")); err == nil {
		t.Error("nonsense is a checkpoint")
	}
}

// proof is that of an event, or of the use number i.
func (tr *trail) proof(t testing.TB, s eventstore.Stream, p int, i int) *Proof {
	t.Helper()
	m := tr.messages[s][p-1]
	proof := ProveEvent(m)
	if s == eventstore.Uses {
		tree, err := eventstore.NewUseTree(m)
		if err != nil {
			t.Fatal(err)
		}
		proof = ProveUse(m, tree, i)
	}
	size := len(tr.messages[s])
	inclusion, err := tlog.ProveRecord(int64(size), int64(p-1), tr.reader(s))
	if err != nil {
		t.Fatal(err)
	}
	proof.Complete(inclusion, []byte(tr.checkpoint(t, s, size)), tr.keys)
	return proof
}

func TestProofs(t *testing.T) {
	tr := newTrail(t, 40)
	for p := range tr.messages[eventstore.Events] {
		if got, err := VerifyProof([]byte(jsonText(t, tr.proof(t, eventstore.Events, p+1, 0))), tr.trust(t)); err != nil || got.FirstUse {
			t.Errorf("event %d: %v", p+1, err)
		}
	}
	for p, m := range tr.messages[eventstore.Uses] {
		tree, err := eventstore.NewUseTree(m)
		if err != nil {
			t.Fatal(err)
		}
		for i := range tree.Lines {
			text := jsonText(t, tr.proof(t, eventstore.Uses, p+1, i))
			if got, err := VerifyProof([]byte(text), Trust{}); err != nil || !got.FirstUse {
				t.Errorf("use %d.%d: %v", p+1, i, err)
			}
			for j, line := range tree.Lines {
				salt := tree.Salt(j)
				if line != tree.Lines[i] && strings.Contains(text, line) || j != i && strings.Contains(text, base64.StdEncoding.EncodeToString(salt[:])) {
					t.Errorf("the proof of use %d.%d shows another", p+1, i)
				}
			}
		}
	}
}

func TestAFalseProofIsFound(t *testing.T) {
	tr := newTrail(t, 40)
	for name, change := range map[string]func(event, use *Proof){
		"the body":         func(e, u *Proof) { e.Body += " "; u.Use.Line += " " },
		"the position":     func(e, u *Proof) { e.Position++; u.Position++ },
		"no position":      func(e, u *Proof) { e.Position, u.Position = 0, 0 },
		"the id":           func(e, u *Proof) { e.ID, u.ID = "x", "x" },
		"the subject":      func(e, u *Proof) { e.Subject, u.Subject = "x", "x" },
		"the stream":       func(e, u *Proof) { e.Stream, u.Stream = u.Stream, e.Stream },
		"the kind":         func(e, u *Proof) { e.Use, u.Use = u.Use, nil },
		"the format":       func(e, u *Proof) { e.Format, u.Format = "x", "x" },
		"the proof":        func(e, u *Proof) { e.TlogProof, u.TlogProof = u.TlogProof, e.TlogProof },
		"no proof":         func(e, u *Proof) { e.TlogProof, u.TlogProof = "", "" },
		"the keys":         func(e, u *Proof) { e.VerifierKeys, u.VerifierKeys = nil, nil },
		"the index":        func(e, u *Proof) { e.Body = ""; u.Use.Index++ },
		"a wild index":     func(e, u *Proof) { e.Body = ""; u.Use.Index = -1 },
		"the count":        func(e, u *Proof) { e.Body = ""; u.Use.Count++ },
		"the head":         func(e, u *Proof) { e.Body = ""; u.Use.Head += " " },
		"the salt":         func(e, u *Proof) { e.Body = ""; u.Use.Salt[0]++ },
		"no salt":          func(e, u *Proof) { e.Body = ""; u.Use.Salt = nil },
		"the path":         func(e, u *Proof) { e.Body = ""; u.Use.Path = u.Use.Path[1:] },
		"of another event": func(e, u *Proof) { *e = *tr.proof(t, eventstore.Events, 18, 0); e.Position = 17; *u = *e },
	} {
		event, use := tr.proof(t, eventstore.Events, 17, 0), tr.proof(t, eventstore.Uses, 4, 1)
		change(event, use)
		for _, p := range []*Proof{event, use} {
			if _, err := VerifyProof([]byte(jsonText(t, p)), Trust{}); err == nil {
				t.Errorf("%s can be changed in the proof of %s", name, p.Stream)
			}
		}
	}
}
