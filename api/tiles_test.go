package api_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/audit"
	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// trailSigning is what commands know of the Merkle logs.
type trailSigning struct {
	*audit.Log
	keys audit.Keys
}

func (s trailSigning) VerifierKeys(origin string, generation int) (map[string][]string, error) {
	return s.keys.Verifiers(origin, generation)
}

// startSigned is start with Merkle logs, which are signed.
func startSigned(t testing.TB) *service {
	t.Helper()
	return startSignedOn(t, t.TempDir())
}

// startSignedOn is startSigned with a directory for the second place of checkpoints.
func startSignedOn(t testing.TB, dir string) *service {
	t.Helper()
	keys := audit.NewKeys([32]byte{1})
	var running sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	s := startWith(t, nil, func(o *api.Options) {
		o.Merkle = audit.NewLog(o.Ledger)
		o.Commands = commands.New(o.Ledger, commands.Options{Index: o.Store, Keys: keyIndex{o.Store}, Keyspaces: o.Store, People: o.Store, Directories: o.Store, Plans: o.Store, Quotas: o.Store, Sinks: o.Store, DataKeys: o.Ledger, Tokens: o.Tokens, LogIns: o.Store,
			Trail: trailSigning{o.Merkle, keys}, Origin: "keys.example.com"})
		if _, err := o.Commands.BeginTrail(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		o.Signer = audit.NewSigner(audit.Options{Ledger: o.Ledger, Log: o.Merkle, Keys: keys, Dir: dir, Every: 20 * time.Millisecond,
			ReportFork: func(ctx context.Context, f audit.Fork) error {
				return o.Commands.DetectFork(ctx, commands.DetectFork{Log: f.Log, Stream: f.Stream, Finding: f.Finding})
			}})
		signer := o.Signer
		running.Go(func() { _ = signer.Run(ctx) })
	})
	t.Cleanup(func() { stop(); running.Wait() })
	return s
}

// signed waits until a stream is signed up to a size, and gives its checkpoint.
func (s *service) signed(key, stream string, size int64) (c audit.Checkpoint) {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); c.Size < size; {
		status, header, text := s.do(key, "GET", "/v1/trail/"+stream+"/checkpoint", "")
		if time.Now().After(deadline) {
			s.t.Fatalf("%d of %d messages are signed: %d %s", c.Size, size, status, text)
		}
		if status == 404 && strings.Contains(text, "no_checkpoint") {
			continue
		}
		var err error
		if c, err = audit.ParseCheckpoint([]byte(text + "\n")); err != nil || status != 200 || header.Get("Content-Type") != "text/plain; charset=utf-8" || header.Get("Cache-Control") != "no-cache" {
			s.t.Fatalf("%d %v %s: %v", status, header, text, err)
		}
	}
	return c
}

// fetch is do without a change of the answer.
func (s *service) fetch(key, path string) (int, http.Header, []byte) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), "GET", s.url+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer a.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(a.Body); err != nil {
		s.t.Fatal(err)
	}
	return a.StatusCode, a.Header, b.Bytes()
}

// tiles are the log of a client that knows nothing but tlog-tiles.
type tiles struct {
	s      *service
	key    string
	stream string
}

func (tiles) Height() int                         { return 8 }
func (tiles) SaveTiles(_ []tlog.Tile, _ [][]byte) {}

func (c tiles) ReadTiles(all []tlog.Tile) (data [][]byte, err error) {
	for _, t := range all {
		status, header, text := c.s.fetch(c.key, "/v1/trail/"+c.stream+"/"+strings.Replace(t.Path(), "tile/8/", "tile/", 1))
		if status != 200 || header.Get("Content-Type") != "application/octet-stream" || !strings.Contains(header.Get("Cache-Control"), "immutable") {
			return nil, fmt.Errorf("%s: %d %v %s", t.Path(), status, header, text)
		}
		data = append(data, text)
	}
	return data, nil
}

// TestAClientOfTilesFollowsTheLog checks each entry of both logs as a client does that has nothing
// but the specification.
func TestAClientOfTilesFollowsTheLog(t *testing.T) {
	s := startSigned(t)
	_, auditor := s.create(s.root, `{"keyspace":"keytrail","name":"auditor","scopes":["audit:read"]}`)
	for i := range 300 {
		s.org(fmt.Sprint("o", i))
	}
	for _, stream := range []string{"events", "uses"} {
		c := s.signed(auditor, stream, 300)
		reader := tlog.TileHashReader(c.Tree(), tiles{s, auditor, stream})
		for first := int64(0); first < c.Size; first += 256 {
			at := tlog.Tile{H: 8, L: -1, N: first / 256, W: int(min(256, c.Size-first))}
			status, _, bundle := s.fetch(auditor, "/v1/trail/"+stream+"/"+strings.Replace(at.Path(), "tile/8/data/", "tile/entries/", 1))
			if status != 200 {
				t.Fatalf("%s: %d %s", at.Path(), status, bundle)
			}
			for i := first; i < first+int64(at.W); i++ {
				n := int(binary.BigEndian.Uint16(bundle))
				entry := bundle[2 : 2+n]
				bundle = bundle[2+n:]
				if i%16 != 0 {
					continue
				}
				proof, err := tlog.ProveRecord(c.Size, i, reader)
				if err == nil {
					err = tlog.CheckRecord(proof, c.Size, c.Tree().Hash, i, tlog.RecordHash(entry))
				}
				if err != nil || !bytes.HasPrefix(entry, []byte("keytrail-leaf-v1\n")) {
					t.Fatalf("entry %d of %s: %v\n%s", i, stream, err, entry)
				}
			}
			if len(bundle) > 0 {
				t.Errorf("%d bytes are left of %s", len(bundle), at.Path())
			}
		}
		vkeys := s.lines(auditor, "/v1/trail/"+stream+"/vkey")
		if len(vkeys) != 2 {
			t.Fatalf("%d keys", len(vkeys))
		}
		for _, vkey := range vkeys {
			v, err := audit.NewVerifier(vkey)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := audit.OpenCheckpoint(c.Note, v); err != nil {
				t.Error(err)
			}
		}
	}
	if all := s.lines(auditor, "/v1/trail/vkey"); len(all) != 4 {
		t.Errorf("%d keys of both", len(all))
	}
}

func (s *service) lines(key, path string) []string {
	s.t.Helper()
	status, _, text := s.fetch(key, path)
	if status != 200 {
		s.t.Fatalf("%s: %d %s", path, status, text)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// TestWhatIsNoTileIsRefused: other spellings, tiles that the tree does not have, other streams.
func TestWhatIsNoTileIsRefused(t *testing.T) {
	s := startSigned(t)
	_, auditor := s.create(s.root, `{"keyspace":"keytrail","name":"auditor","scopes":["audit:read"]}`)
	c := s.signed(auditor, "events", 3)
	for _, path := range []string{"tile/0/000", fmt.Sprintf("tile/0/000.p/%d", c.Size+100), "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/0", "tile/00/000.p/1", "tile/1/000.p/1", "tile/-1/000.p/1",
		"tile/64/000.p/1", "tile/0/001.p/1", "tile/0/x000/001.p/1", "tile/0/x999/x999/x999/x999/x999/x999/999", "tile/0/000.p/1/", "tile/0/%2e%2e", "tile/data/000.p/1",
		"tile/entries/000", fmt.Sprintf("tile/entries/000.p/%d", c.Size+100), "tile/entries/-01", "tile/entries/"} {
		if status, _, text := s.do(auditor, "GET", "/v1/trail/events/"+path, ""); status != 404 {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	for _, path := range []string{"/v1/trail/other/checkpoint", "/v1/trail/other/vkey", "/v1/trail/EVENTS/tile/0/000.p/1", "/v1/trail/other/tile/entries/000.p/1"} {
		if status, _, text := s.do(auditor, "GET", path, ""); status != 404 || !strings.Contains(text, "log_not_found") {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	if status, _, _ := s.do(auditor, "GET", fmt.Sprintf("/v1/trail/events/tile/0/000.p/%d", c.Size), ""); status != 200 {
		t.Errorf("the tile itself: %d", status)
	}
}

// TestTheLogIsOfTheInstallation: another tenant's auditor sees the keys, and nothing else; readers
// change nothing.
func TestTheLogIsOfTheInstallation(t *testing.T) {
	s := startSigned(t)
	_, auditor := s.create(s.root, `{"keyspace":"keytrail","name":"auditor","scopes":["audit:read"]}`)
	org := s.org("acme")
	_, tenant := s.create(s.root, `{"org_id":"`+org+`","keyspace":"keytrail","name":"tenant","scopes":["audit:read","audit:write"]}`)
	_, other := s.create(s.root, `{"keyspace":"keytrail","name":"other","scopes":["keys:read"]}`)
	s.signed(auditor, "events", 3)
	s.signed(auditor, "uses", 1)
	for _, path := range []string{"/v1/trail", "/v1/trail/events/checkpoint", "/v1/trail/events/tile/0/000.p/1", "/v1/trail/uses/tile/entries/000.p/1"} {
		for name, c := range map[string]struct {
			key  string
			want int
		}{"nobody": {"", 401}, "a tenant": {tenant, 403}, "a key without the scope": {other, 403}, "an auditor": {auditor, 200}} {
			if status, _, text := s.do(c.key, "GET", path, ""); status != c.want {
				t.Errorf("%s of %s: %d %s", path, name, status, text)
			}
		}
	}
	for path, body := range map[string]string{"/v1/trail/renew": `{"comment":"c"}`, "/v1/trail/keys/rotate": `{"overlap":"1h"}`} {
		for _, key := range []string{"", tenant, auditor, other} {
			if status, _, text := s.do(key, "POST", path, body); status != 401 && status != 403 {
				t.Errorf("%s: %d %s", path, status, text)
			}
		}
	}
	if status, _, _ := s.do(tenant, "GET", "/v1/trail/vkey", ""); status != 200 {
		t.Errorf("a tenant's auditor sees no keys: %d", status)
	}
	if status, _, _ := s.do(other, "GET", "/v1/trail/events/vkey", ""); status != 403 {
		t.Errorf("keys without the scope: %d", status)
	}
}

// TestAgedOutEntriesAreSaidToBeGone, and their hashes stay, and prove the rest.
func TestAgedOutEntriesAreSaidToBeGone(t *testing.T) {
	s := startSigned(t)
	_, auditor := s.create(s.root, `{"keyspace":"keytrail","name":"auditor","scopes":["audit:read"]}`)
	for i := range 600 {
		var b eventstore.UseBatch
		b.Add("org_a", &domain.KeyUsed{Key: domain.NewKeyID("org_a", fmt.Sprint(i)), Code: domain.UseValid, At: time.Now()}, 0)
		if _, err := s.ledger.AppendUses(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
	}
	c := s.signed(auditor, "uses", 600)
	stream, err := eventstoretest.JetStream(t, s.nats).Stream(t.Context(), "KEYTRAIL_USES")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSequence(301)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"000", "001"} {
		if status, _, text := s.do(auditor, "GET", "/v1/trail/uses/tile/entries/"+path, ""); status != 404 || !strings.Contains(text, "entries_gone") || !strings.Contains(text, "minimum index is 512") {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	if status, _, text := s.fetch(auditor, "/v1/trail/uses/tile/entries/002.p/88"); status != 200 {
		t.Errorf("the entries that are left: %d %s", status, text)
	}
	for position, want := range map[string]string{"300.0": `"code":"use_gone"`, "300.9": `"code":"use_gone"`, "301.0": `"tlog_proof":`, "9999.0": `"code":"position_not_found"`} {
		if status, _, text := s.do(auditor, "GET", "/v1/events/"+position+"/proof", ""); (status == 200) == strings.Contains(want, "code") || status != 200 && status != 404 || !strings.Contains(text, want) {
			t.Errorf("the proof of %s: %d %s, want %s", position, status, text, want)
		}
	}
	proof, err := tlog.ProveRecord(c.Size, 7, tlog.TileHashReader(c.Tree(), tiles{s, auditor, "uses"}))
	if err != nil || len(proof) < 9 {
		t.Errorf("an old use is not proved: %v", err)
	}
	var shown api.TrailLog
	_, _, text := s.do(auditor, "GET", "/v1/trail", "")
	if err := json.Unmarshal([]byte(text), &shown); err != nil || shown.Streams[1].MinimumIndex != 512 || shown.Streams[1].SignedSize < 600 || shown.Streams[0].MinimumIndex != 0 {
		t.Errorf("%s %v", text, err)
	}
}

// TestKeysOverlapAndLogsAreRenewed over HTTP, each once for one Idempotency-Key.
func TestKeysOverlapAndLogsAreRenewed(t *testing.T) {
	s := startSigned(t)
	_, operator := s.create(s.root, `{"keyspace":"keytrail","name":"operator","scopes":["audit:read","audit:write"]}`)
	before := s.signed(operator, "events", 3)
	old := s.lines(operator, "/v1/trail/events/vkey")
	for range 2 {
		a := s.must(operator, "POST", "/v1/trail/keys/rotate", `{"overlap":"24h"}`, "Idempotency-Key", "once")
		if keys := a["streams"].([]any)[0].(map[string]any)["keys"].([]any); len(keys) != 2 {
			t.Errorf("%d generations", len(keys))
		}
	}
	now := s.lines(operator, "/v1/trail/events/vkey")
	if len(now) != 4 || now[2] != old[0] || now[3] != old[1] {
		t.Fatalf("%q, before %q", now, old)
	}
	s.org("later")
	c := s.signed(operator, "events", before.Size+2)
	for _, vkey := range now {
		v, err := audit.NewVerifier(vkey)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := audit.OpenCheckpoint(c.Note, v); err != nil {
			t.Error(err)
		}
	}
	s.must(operator, "POST", "/v1/trail/keys/rotate", `{"overlap":"24h"}`)
	if status, _, text := s.do(operator, "POST", "/v1/trail/keys/rotate", `{"overlap":"24h"}`); status != 409 || !strings.Contains(text, "too_many_trail_keys") {
		t.Errorf("a fourth generation: %d %s", status, text)
	}
	for _, body := range []string{`{}`, `{"comment":""}`, `{"comment":"` + strings.Repeat("x", 501) + `"}`, `{"comment":"a\u0000b"}`} {
		if status, _, text := s.do(operator, "POST", "/v1/trail/renew", body); status != 400 && status != 422 {
			t.Errorf("%.40s: %d %s", body, status, text)
		}
	}
	for range 2 {
		a := s.must(operator, "POST", "/v1/trail/renew", `{"comment":"a new disk"}`, "Idempotency-Key", "renewed")
		if a["number"] != 2.0 || a["reason"] != "renewed" {
			t.Errorf("%v", a)
		}
	}
	end, err := s.ledger.End(t.Context(), eventstore.Events)
	if err != nil {
		t.Fatal(err)
	}
	if next := s.signed(operator, "events", int64(end)); next.Origin == c.Origin || !strings.HasPrefix(next.Origin, "keys.example.com/") {
		t.Errorf("the renewed log is %s, and was %s", next.Origin, c.Origin)
	}
}

// TestAForkStopsNoVerification: operators are told, and requests are answered as before.
func TestAForkStopsNoVerification(t *testing.T) {
	dir := t.TempDir()
	first := startSignedOn(t, dir)
	first.signed(first.root, "events", 2)
	s := startSignedOn(t, dir) // another ledger with the same second place
	_, secret := s.create(s.root, `{"org_id":"`+s.org("acme")+`","name":"n"}`)
	for deadline := time.Now().Add(20 * time.Second); ; {
		status, _, text := s.do("", "GET", "/readyz", "")
		if status != 200 || !strings.Contains(text, `"ready":true`) {
			t.Fatalf("%d %s", status, text)
		}
		if strings.Contains(text, `"warnings":["audit_fork_detected"]`) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no fork is told: %s", text)
		}
	}
	if a := s.must(s.root, "POST", "/v1/verify", `{"key":"`+secret+`"}`); a["code"] != "VALID" {
		t.Errorf("%v", a)
	}
	if status, _, text := s.do(s.root, "GET", "/v1/events?type=trail.fork_detected", ""); status != 200 || !strings.Contains(text, "none of this ledger") {
		t.Errorf("%d %s", status, text)
	}
	for _, position := range []string{"1", "1.0"} { // the use is of the verification
		s.settle()
		if status, header, text := s.do(s.root, "GET", "/v1/events/"+position+"/proof", ""); status != 503 || !strings.Contains(text, `"code":"not_signed_yet"`) || header.Get("Retry-After") != "2" {
			t.Errorf("the proof of %s, which nothing signs: %d %v %s", position, status, header, text)
		}
	}
	if status, _, text := s.do(s.root, "GET", "/v1/trail", ""); status != 200 || !strings.Contains(text, `"forked":true`) {
		t.Errorf("%d %s", status, text)
	}
}
