package witness

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/audit"
	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// signing is what the commands know of the logs.
type signing struct {
	*audit.Log
	audit.Keys
}

func (s signing) VerifierKeys(origin string, generation int) (map[string][]string, error) {
	return s.Verifiers(origin, generation)
}

// A node signs its ledger's logs, and has them cosigned.
type node struct {
	t      *testing.T
	ledger *eventstore.Ledger
	log    *audit.Log
	vkeys  []string
	events int
}

const every = 10 * time.Millisecond

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, ledger: eventstoretest.New(t)}
	n.log = audit.NewLog(n.ledger)
	keys := audit.NewKeys([32]byte{1})
	handler := commands.New(n.ledger, commands.Options{Trail: signing{n.log, keys}, Origin: "keytrail.test"})
	if _, err := handler.BeginTrail(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	current, err := n.log.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range current.Keys[0].Verifiers {
		n.vkeys = append(n.vkeys, of...)
	}
	n.run(audit.NewSigner(audit.Options{Ledger: n.ledger, Log: n.log, Keys: keys, Dir: t.TempDir(), Every: every,
		ReportFork: func(context.Context, audit.Fork) error { return nil }}).Run)
	return n
}

// run runs a task as long as the test.
func (n *node) run(task func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() { _ = task(ctx) })
	n.t.Cleanup(func() { cancel(); wait.Wait() })
}

func (n *node) append() {
	n.t.Helper()
	n.events++
	org := domain.NewOrgID(fmt.Sprint(n.events))
	if _, err := n.ledger.Append(n.t.Context(), eventstore.OrganizationRef(org), 0, eventstore.Command{ID: fmt.Sprint(n.events)}, domain.OrganizationCreated{ID: org, Name: "x", Header: domain.Header{At: time.Now(), By: "system"}}); err != nil {
		n.t.Fatal(err)
	}
}

// eventually waits until a condition holds of the published checkpoint of the events.
func (n *node) eventually(what string, holds func(audit.Checkpoint) bool) {
	n.t.Helper()
	var c audit.Checkpoint
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		var err error
		if c, err = n.log.Published(n.t.Context(), eventstore.Events); err == nil && holds(c) {
			return
		}
	}
	n.t.Fatalf("never %s: %s", what, c.Note)
}

// A machine is one that a witness runs on.
type machine struct {
	keys    Keys
	server  *httptest.Server
	instead atomic.Pointer[http.HandlerFunc] // nil: the witness answers
}

func newMachine(t *testing.T, vkeys []string) *machine {
	t.Helper()
	m := &machine{keys: newKeys(t)}
	w, err := New(m.keys, t.TempDir(), vkeys)
	if err != nil {
		t.Fatal(err)
	}
	h := w.Handler(slog.New(slog.DiscardHandler))
	m.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if instead := m.instead.Load(); instead != nil {
			(*instead)(w, r)
			return
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(m.server.Close)
	return m
}

func (m *machine) answers(f http.HandlerFunc) {
	m.instead.Store(&f)
}

func (m *machine) policy(name string) (text string) {
	for i, k := range m.keys.VerifierKeys {
		text += fmt.Sprintf("witness %s%d %s %s\n", name, i, k, m.server.URL)
	}
	return text
}

func (n *node) cosign(policy string) {
	n.t.Helper()
	clients, err := ParseClients([]byte(policy))
	if err != nil {
		n.t.Fatal(err)
	}
	c := NewCosigner(n.log, clients, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	c.every = every
	n.run(c.Run)
}

// has reports whether a checkpoint is of all events and has a number of signatures beside the
// log's own two.
func (n *node) has(cosignatures int) func(audit.Checkpoint) bool {
	return func(c audit.Checkpoint) bool {
		return c.Size == int64(n.events)+1 && strings.Count(string(c.Note), "\n— ") == 2+cosignatures
	}
}

// TestCheckpointsAreCosigned runs two witnesses and two processes that ask them, and takes a witness
// away and back.
func TestCheckpointsAreCosigned(t *testing.T) {
	n := newNode(t)
	a, b := newMachine(t, n.vkeys), newMachine(t, n.vkeys)
	policy := a.policy("a") + b.policy("b")
	n.cosign(policy)
	n.cosign(policy)
	for range 3 {
		n.append()
		n.eventually("cosigned by both", n.has(4))
	}
	b.answers(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	n.append()
	n.eventually("cosigned by one", n.has(2))
	b.instead.Store(nil)
	n.append()
	n.eventually("cosigned by both again", n.has(4))
}

// TestNoWitnessHoldsUpCheckpoints has witnesses that answer nothing, or nonsense.
func TestNoWitnessHoldsUpCheckpoints(t *testing.T) {
	n := newNode(t)
	m := newMachine(t, n.vkeys)
	n.cosign(m.policy("w"))
	for name, answer := range map[string]http.HandlerFunc{
		"a hung one": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // a server notices that its client is gone once the body is read
			<-r.Context().Done()
		},
		"one that knows more": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", sizeType)
			w.WriteHeader(409)
			_, _ = fmt.Fprintln(w, 1<<40)
		},
		"one that knows less": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", sizeType)
			w.WriteHeader(409)
			_, _ = fmt.Fprintln(w, 0)
		},
		"one that sees a fork":  func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(422) },
		"one that signs others": func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprintln(w, "— x AAAAAAAA") },
	} {
		m.answers(answer)
		n.append()
		n.eventually("published beside "+name, func(c audit.Checkpoint) bool { return c.Size == int64(n.events)+1 })
	}
}

// TestALedgerThatWasSetBackIsNoticed asks a witness that has signed more.
func TestALedgerThatWasSetBackIsNoticed(t *testing.T) {
	n := newNode(t)
	m := newMachine(t, n.vkeys)
	m.answers(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", sizeType)
		w.WriteHeader(http.StatusConflict)
		_, _ = fmt.Fprintln(w, 1000)
	})
	clients, err := ParseClients([]byte(m.policy("w")))
	if err != nil {
		t.Fatal(err)
	}
	c := NewCosigner(n.log, clients, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	n.append()
	n.eventually("published", n.has(0))
	last, err := n.log.Checkpoint(t.Context(), eventstore.Events)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.askOne(t.Context(), c.witnesses[0], eventstore.Events, last); err != errLonger {
		t.Errorf("%v", err)
	}
}
