package api_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/projections"
)

// A lagging is a node whose read model stands still until it is told to go on.
type lagging struct {
	*service
	stop func()
}

func (s *service) laggingNode() *lagging {
	s.t.Helper()
	store, err := projections.Open(s.t.TempDir(), projections.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	n := &lagging{service: s.node(store, time.Now), stop: func() {}}
	s.t.Cleanup(func() {
		n.stop()
		if err := store.Close(); err != nil {
			s.t.Error(err)
		}
	})
	n.goOn()
	n.caughtUp()
	n.stop()
	return n
}

func (n *lagging) goOn() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.store.Run(ctx, n.ledger) }()
	n.stop = func() {
		cancel()
		if err := <-done; err != nil {
			n.t.Error(err)
		}
		n.stop = func() {}
	}
}

// TestAnotherNodesNewKeyIsFound asks a node for a key that its read model does not have yet.
func TestAnotherNodesNewKeyIsFound(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	n := s.laggingNode()
	for i, r := range [][2]string{{"GET", ""}, {"GET", "/usage"}, {"PATCH", ""}, {"POST", "/rotate"}, {"POST", "/disable"}, {"POST", "/enable"}, {"POST", "/revoke"}} {
		id, _ := s.create(s.root, fmt.Sprintf(`{"org_id":%q,"name":"n%d"}`, org, i))
		body := map[string]string{"PATCH": `{"owner":"o"}`}[r[0]]
		answered := make(chan string, 1)
		uses := n.uses()
		go func() {
			status, _, text := n.do(s.root, r[0], "/v1/keys/"+id+r[1], body)
			answered <- fmt.Sprint(status, " ", text)
		}()
		n.waitForUse(uses) // the caller is known: the key is looked for next
		select {
		case a := <-answered:
			t.Errorf("%s %s of a key that the read model lacks: %s", r[0], r[1], a)
			continue
		default:
		}
		n.goOn()
		if a := <-answered; a[:3] != "200" {
			t.Errorf("%s %s: %s", r[0], r[1], a)
		}
		n.stop()
	}
}

func (s *service) uses() eventstore.Position {
	s.t.Helper()
	end, err := s.ledger.End(s.t.Context(), eventstore.Uses)
	if err != nil {
		s.t.Fatal(err)
	}
	return end
}

func (s *service) waitForUse(after eventstore.Position) {
	s.t.Helper()
	for s.uses() == after {
		if s.t.Context().Err() != nil {
			s.t.Fatal("the use of the caller's key does not come")
		}
	}
}
