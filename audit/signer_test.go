package audit_test

import (
	"bytes"
	"context"

	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/keytrail/keytrail/audit"
	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// A node is a process that signs, on a directory of its own.
type node struct {
	t        testing.TB
	server   *eventstore.Server
	ledger   *eventstore.Ledger
	log      *audit.Log
	commands *commands.Handler
	keys     audit.Keys
	dir      string
	stop     func()
	logged   *syncedBuffer
	metrics  *prometheus.Registry // of the last signer
}

// A syncedBuffer takes what a node logs while the test reads it.
type syncedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncedBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncedBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// signing is what the commands know of the logs.
type signing struct {
	*audit.Log
	audit.Keys
}

func (s signing) VerifierKeys(origin string, generation int) (map[string][]string, error) {
	return s.Verifiers(origin, generation)
}

// every is how often nodes of a test sign.
const every = 20 * time.Millisecond

// newNode is a node whose logs have begun and that signs nothing yet.
func newNode(t testing.TB, server *eventstore.Server) *node {
	t.Helper()
	return newNodeWith(t, server, audit.NewKeys([32]byte{1}))
}

func newNodeWith(t testing.TB, server *eventstore.Server, keys audit.Keys) *node {
	t.Helper()
	n := newNodeOf(t, eventstoretest.Open(t, server), keys)
	n.server = server
	return n
}

// newNodeOf is newNode on a ledger that was opened otherwise.
func newNodeOf(t testing.TB, ledger *eventstore.Ledger, keys audit.Keys) *node {
	t.Helper()
	n := &node{t: t, ledger: ledger, keys: keys, dir: filepath.Join(t.TempDir(), "checkpoints"), logged: new(syncedBuffer)}
	n.log = audit.NewLog(n.ledger)
	n.commands = commands.New(n.ledger, commands.Options{Trail: signing{n.log, n.keys}, Origin: "keytrail.test"})
	if _, err := n.commands.BeginTrail(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	return n
}

// sign makes the node sign until stop, or the end of the test.
func (n *node) sign() *audit.Signer {
	n.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	n.metrics = prometheus.NewRegistry()
	s := audit.NewSigner(audit.Options{Ledger: n.ledger, Log: n.log, Keys: n.keys, Dir: n.dir, Every: every, Metrics: n.metrics, Logger: slog.New(slog.NewTextHandler(n.logged, nil)),
		ReportFork: func(ctx context.Context, f audit.Fork) error {
			return n.commands.DetectFork(ctx, commands.DetectFork{Log: f.Log, Stream: f.Stream, Finding: f.Finding, Checkpoint: string(f.Checkpoint.Note)})
		}})
	running.Go(func() { _ = s.Run(ctx) })
	n.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	n.t.Cleanup(n.stop)
	return s
}

// until waits for a condition, which a signer brings about.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s did not come about", what)
		}
	}
}

// signedUpTo waits until a stream is signed up to its end, and gives that checkpoint.
func (n *node) signedUpTo(s eventstore.Stream) (c audit.Checkpoint) {
	n.t.Helper()
	end, err := n.ledger.End(n.t.Context(), s)
	if err != nil {
		n.t.Fatal(err)
	}
	until(n.t, fmt.Sprintf("a checkpoint of %s up to %d", s, end), func() bool {
		c, err = n.log.Checkpoint(n.t.Context(), s)
		return err == nil && c.Size >= int64(end)
	})
	return c
}

// events appends n events, each of an organization of its own.
func (n *node) events(count int) {
	n.t.Helper()
	for range count {
		org := domain.NewOrgID(fmt.Sprint(time.Now().UnixNano()))
		if _, err := n.ledger.Append(n.t.Context(), eventstore.OrganizationRef(org), 0, eventstore.Command{ID: "c"}, domain.OrganizationCreated{ID: org, Name: "acme", Header: domain.Header{At: time.Now()}}); err != nil {
			n.t.Fatal(err)
		}
	}
}

// uses appends messages of uses.
func (n *node) uses(count int) {
	n.t.Helper()
	for range count {
		var b eventstore.UseBatch
		for i := range 3 {
			b.Add("org_a", &domain.KeyUsed{Key: domain.NewKeyID("org_a", fmt.Sprint(i)), Code: domain.UseValid, At: time.Now()}, 0)
		}
		if _, err := n.ledger.AppendUses(n.t.Context(), &b); err != nil {
			n.t.Fatal(err)
		}
	}
}

// check proves a checkpoint by another implementation, from the messages themselves.
func (n *node) check(s eventstore.Stream, c audit.Checkpoint) {
	n.t.Helper()
	current, err := n.log.Current(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	for _, k := range current.SigningKeys(time.Now()) {
		for _, vkey := range k.Verifiers[s.String()] {
			v, err := audit.NewVerifier(vkey)
			if err != nil {
				n.t.Fatal(err)
			}
			if _, err := audit.OpenCheckpoint(c.Note, v); err != nil {
				n.t.Errorf("%s is not signed by %.60s: %v", s, vkey, err)
			}
		}
	}
	tree := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	if err := n.ledger.Copy(n.t.Context(), s, 0, eventstore.Position(c.Size), func(m *eventstore.Raw) error {
		leaf, err := eventstore.NewLeaf(s, m)
		if err != nil {
			return err
		}
		return tree.Append(rfc6962.DefaultHasher.HashLeaf(leaf.Append(nil)), nil)
	}); err != nil {
		n.t.Fatal(err)
	}
	root, err := tree.GetRootHash(nil)
	if err != nil {
		n.t.Fatal(err)
	}
	if !bytes.Equal(root, c.Root[:]) && c.Size > 0 {
		n.t.Errorf("the root of %d messages of %s is %x, and %x was signed", c.Size, s, root, c.Root)
	}
}

func TestWhatComesIsSigned(t *testing.T) {
	n := newNode(t, eventstoretest.Server(t))
	n.sign()
	var before audit.Checkpoint
	for _, count := range []int{1, 1, 40, 254, 3, 600} {
		n.events(count)
		n.uses(count/2 + 1)
		c := n.signedUpTo(eventstore.Events)
		n.check(eventstore.Events, c)
		n.check(eventstore.Uses, n.signedUpTo(eventstore.Uses))
		if before.Size > 0 {
			hashes, err := n.log.Consistency(t.Context(), c, before.Size)
			if err != nil {
				t.Fatal(err)
			}
			if err := proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(before.Size), uint64(c.Size), slices(hashes), before.Root[:], c.Root[:]); err != nil {
				t.Errorf("from %d to %d: %v", before.Size, c.Size, err)
			}
		}
		before = c
	}
	for index := int64(0); index < before.Size; index += 37 {
		hashes, err := n.log.Inclusion(t.Context(), before, index, before.Size)
		if err != nil {
			t.Fatal(err)
		}
		m, err := n.ledger.Message(t.Context(), eventstore.Events, eventstore.Position(index+1))
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := eventstore.NewLeaf(eventstore.Events, &m)
		if err != nil {
			t.Fatal(err)
		}
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(index), uint64(before.Size), rfc6962.DefaultHasher.HashLeaf(leaf.Append(nil)), slices(hashes), before.Root[:]); err != nil {
			t.Errorf("leaf %d: %v", index, err)
		}
	}
	if n.logged.String() != "" {
		t.Errorf("%s", n.logged)
	}
}

func slices[H ~[32]byte](hashes []H) (all [][]byte) {
	for _, h := range hashes {
		all = append(all, h[:])
	}
	return all
}

// A restart goes on where the last checkpoint is, whatever it left: tiles without a checkpoint, too.
func TestARestartGoesOn(t *testing.T) {
	server := eventstoretest.Server(t)
	n := newNode(t, server)
	n.events(300)
	n.sign()
	first := n.signedUpTo(eventstore.Events)
	n.stop()
	n.events(300)
	again := newNode(t, server)
	again.dir = n.dir
	again.sign()
	c := again.signedUpTo(eventstore.Events)
	again.check(eventstore.Events, c)
	if first.Origin != c.Origin {
		t.Errorf("another log began: %s, %s", first.Origin, c.Origin)
	}
}

// Several processes sign one chain of checkpoints.
func TestSeveralProcessesSignOneChain(t *testing.T) {
	server := eventstoretest.Server(t)
	var nodes []*node
	for range 3 {
		n := newNode(t, server)
		n.sign()
		nodes = append(nodes, n)
	}
	var chain []audit.Checkpoint
	for i := range 40 {
		nodes[i%3].events(7)
		c, err := nodes[(i+1)%3].log.Checkpoint(t.Context(), eventstore.Events)
		if err == nil && (len(chain) == 0 || c.Size != chain[len(chain)-1].Size) {
			chain = append(chain, c)
		}
	}
	for _, n := range nodes {
		chain = append(chain, n.signedUpTo(eventstore.Events))
	}
	last := chain[len(chain)-1]
	nodes[0].check(eventstore.Events, last)
	for _, c := range chain {
		root, err := nodes[0].log.RootAt(t.Context(), last, c.Size)
		if err != nil || root != c.Root {
			t.Errorf("the checkpoint of %d is not of the log: %v", c.Size, err)
		}
	}
	for _, n := range nodes {
		until(t, "the second place", func() bool {
			text, err := os.ReadFile(filepath.Join(n.dir, "events"))
			return err == nil && strings.Contains(string(text), fmt.Sprintf(`\n%d\n`, last.Size))
		})
		if strings.Contains(n.logged.String(), "level=ERROR") {
			t.Errorf("%s", n.logged)
		}
	}
}

// forked waits until the node has found a fork of a stream, and that it is on the ledger.
func (n *node) forked(s *audit.Signer, stream eventstore.Stream) string {
	n.t.Helper()
	until(n.t, "a fork of "+stream.String(), func() bool {
		current, err := n.log.Current(n.t.Context())
		return err == nil && current.Forks[stream.String()] && s.Status()[stream].Fork != ""
	})
	text := ""
	if _, err := n.ledger.Load(n.t.Context(), eventstore.TrailLogRef(), 0, func(r eventstore.Record) {
		if e, ok := r.Event.(domain.TrailForkDetected); ok {
			if text += e.Finding; e.Stream != stream.String() {
				n.t.Errorf("a fork of %s was found", e.Stream)
			}
		}
	}); err != nil {
		n.t.Fatal(err)
	}
	return text
}

// copyOf copies the ledger's directory, as a snapshot that is put back later does.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func start(t *testing.T, dir string) *eventstore.Server {
	t.Helper()
	s, err := eventstore.StartUnsyncedServer(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// lostEnd is the directory of a ledger without its last ten events, the node that has signed them,
// and what it has signed.
func lostEnd(t *testing.T) (older string, n *node, signed audit.Checkpoint) {
	t.Helper()
	dir, checkpoints := filepath.Join(t.TempDir(), "ledger"), filepath.Join(t.TempDir(), "checkpoints")
	for range 2 {
		if n != nil {
			older = copyOf(t, dir)
		}
		server := start(t, dir)
		n = newNode(t, server)
		n.dir = checkpoints
		n.events(10)
		n.sign()
		signed = n.signedUpTo(eventstore.Events)
		n.stop()
		server.Close()
	}
	return older, n, signed
}

// A ledger that lost its end does not match the second place: nothing is signed on it, also
// after a restart, until an operator renews the log.
func TestALedgerThatLostItsEndIsAFork(t *testing.T) {
	older, n, signed := lostEnd(t)
	server := start(t, older)
	for range 2 { // and again after a restart
		n3 := newNode(t, server)
		n3.dir = n.dir
		s := n3.sign()
		if text := n3.forked(s, eventstore.Events); !strings.Contains(text, fmt.Sprintf("%d messages were signed", signed.Size)) {
			t.Errorf("found: %s", text)
		}
		n3.events(30)
		c, err := n3.log.Checkpoint(t.Context(), eventstore.Events)
		if err != nil || c.Size >= signed.Size {
			t.Errorf("after the fork %d are signed, %v", c.Size, err)
		}
		n3.stop()
	}
	n4 := newNode(t, server)
	n4.dir = n.dir
	s := n4.sign()
	if _, err := n4.commands.RenewTrail(t.Context(), commands.RenewTrail{Request: commands.Request{By: domain.System}, Comment: "the disk was put back"}); err != nil {
		t.Fatal(err)
	}
	until(t, "a log that is renewed", func() bool { return s.Status()[eventstore.Events].Log == 2 })
	c := n4.signedUpTo(eventstore.Events)
	n4.check(eventstore.Events, c)
	current, err := n4.log.Current(t.Context())
	if err != nil || c.Origin == signed.Origin || current.Previous["events"] == "" || current.Reason != domain.TrailRenewed {
		t.Errorf("%+v, %v", current, err)
	}
}

// Another ledger in the place of the one that was signed is a fork, too.
func TestAnotherLedgerIsAFork(t *testing.T) {
	n := newNode(t, eventstoretest.Server(t))
	n.events(10)
	n.sign()
	n.signedUpTo(eventstore.Events)
	n.stop()
	other := newNode(t, eventstoretest.Server(t))
	other.dir = n.dir
	other.events(20)
	if text := other.forked(other.sign(), eventstore.Events); !strings.Contains(text, "none of this ledger") {
		t.Errorf("found: %s", text)
	}
}

// A ledger that lost its end and grew again is found out by what it has there.
func TestALedgerThatGrewAgainIsAFork(t *testing.T) {
	older, n, _ := lostEnd(t)
	n3 := newNode(t, start(t, older))
	n3.dir = n.dir
	n3.events(50)
	if text := n3.forked(n3.sign(), eventstore.Events); !strings.Contains(text, "not those that were signed") {
		t.Errorf("found: %s", text)
	}
}

// After the keyring was replaced the next start makes new keys sign; a process with another keyring
// signs nothing.
func TestAnotherKeyringHasOtherKeys(t *testing.T) {
	server := eventstoretest.Server(t)
	n := newNode(t, server)
	n.events(3)
	n.sign()
	before := n.signedUpTo(eventstore.Events)
	n.stop()
	other := newNodeWith(t, server, audit.NewKeys([32]byte{2}))
	other.dir = n.dir
	other.events(1)
	other.sign()
	c := other.signedUpTo(eventstore.Events)
	other.check(eventstore.Events, c)
	current, err := other.log.Current(t.Context())
	if err != nil || len(current.Keys) != 2 || c.Origin != before.Origin {
		t.Errorf("%+v, %v", current, err)
	}
	other.stop()
	n.events(1)
	n.sign() // with the old keyring
	until(t, "a warning", func() bool { return strings.Contains(n.logged.String(), "not derived from this keyring") })
	if again, err := n.log.Checkpoint(t.Context(), eventstore.Events); err != nil || again.Size != c.Size {
		t.Errorf("%d are signed, %v", again.Size, err)
	}
}
