package audit_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/keytrail/keytrail/audit"
	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// ageOut takes the uses before a position off the server, as their age does.
func (n *node) ageOut(before uint64) {
	n.t.Helper()
	stream, err := eventstoretest.JetStream(n.t, n.server).Stream(n.t.Context(), "KEYTRAIL_USES")
	if err == nil {
		err = stream.Purge(n.t.Context(), jetstream.WithPurgeSequence(before))
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// leafHashes are those that a checkpoint's tree has, up to n.
func (n *node) leafHashes(c audit.Checkpoint, count int64) string {
	n.t.Helper()
	var indexes []int64
	for i := range count {
		indexes = append(indexes, tlog.StoredHashIndex(0, i))
	}
	hashes, err := n.log.Hashes(n.t.Context(), c).ReadHashes(indexes)
	if err != nil {
		n.t.Fatal(err)
	}
	return fmt.Sprint(hashes)
}

// Uses that have aged out stay provable, and the next log takes over their hashes: its tree is the
// same. Those that no log had the hash of have leaves that say so.
func TestUsesThatHaveAgedOutStayProvable(t *testing.T) {
	n := newNode(t, eventstoretest.Server(t))
	n.uses(600)
	n.sign()
	first := n.signedUpTo(eventstore.Uses)
	n.check(eventstore.Uses, first)
	n.ageOut(400)
	n.uses(10)
	c := n.signedUpTo(eventstore.Uses)
	if n.leafHashes(c, 600) != n.leafHashes(first, 600) {
		t.Error("the hashes changed")
	}
	if _, err := n.commands.RenewTrail(t.Context(), commands.RenewTrail{Request: commands.Request{By: domain.System}, Comment: "c"}); err != nil {
		t.Fatal(err)
	}
	until(t, "the next log", func() bool {
		next, err := n.log.Checkpoint(t.Context(), eventstore.Uses)
		return err == nil && next.Origin != c.Origin && next.Size == c.Size
	})
	next, err := n.log.Checkpoint(t.Context(), eventstore.Uses)
	if err != nil || next.Root != c.Root {
		t.Errorf("the next log has another tree: %v", err)
	}
	n.stop()
	n.uses(20)
	n.ageOut(621) // 611 to 620 were never hashed
	n.sign()
	last := n.signedUpTo(eventstore.Uses)
	if last.Size != 630 || n.leafHashes(last, 610) != n.leafHashes(next, 610) {
		t.Errorf("%d uses are signed", last.Size)
	}
	hashes, err := n.log.Hashes(t.Context(), last).ReadHashes([]int64{tlog.StoredHashIndex(0, 610), tlog.StoredHashIndex(0, 620)})
	if gone := (eventstore.Leaf{Stream: eventstore.Uses, Position: 611}).Hash(); err != nil || eventstore.Hash(hashes[0]) != gone || eventstore.Hash(hashes[1]) == (eventstore.Leaf{Stream: eventstore.Uses, Position: 621}).Hash() {
		t.Errorf("a use that was never hashed has the leaf %v: %v", hashes, err)
	}
	if strings.Contains(n.logged.String(), "level=ERROR") {
		t.Errorf("%s", n.logged)
	}
}

// All uses may have aged out when a process that was stopped for long signs again.
func TestNothingIsLeftOfTheUses(t *testing.T) {
	n := newNode(t, eventstoretest.Server(t))
	n.uses(300)
	n.ageOut(301)
	n.sign()
	if c := n.signedUpTo(eventstore.Uses); c.Size != 300 {
		t.Errorf("%d are signed", c.Size)
	}
	n.uses(1)
	if c := n.signedUpTo(eventstore.Uses); c.Size != 301 {
		t.Errorf("%d are signed", c.Size)
	}
}

// counted is the sum of one of the signer's metrics.
func (n *node) counted(name string) (sum float64) {
	n.t.Helper()
	families, err := n.metrics.Gather()
	if err != nil {
		n.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// Uses that a stream that may have few bytes has lost before they were signed have leaves that say
// so, and are counted. What was signed stays as it was.
func TestUsesThatWereLostBeforeTheyWereSigned(t *testing.T) {
	nc, err := eventstoretest.Server(t).Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	ledger, err := eventstore.Open(t.Context(), nc, eventstore.Options{UsesMaxBytes: 32 << 10})
	if err != nil {
		t.Fatal(err)
	}
	n := newNodeOf(t, ledger, audit.NewKeys([32]byte{1}))
	n.uses(300)
	signer := n.sign()
	var chain []audit.Checkpoint
	for range 10 {
		n.uses(60)
		if c, err := n.log.Checkpoint(t.Context(), eventstore.Uses); err == nil {
			chain = append(chain, c)
		}
	}
	last := n.signedUpTo(eventstore.Uses)
	n.stop()
	for _, c := range chain {
		if root, err := n.log.RootAt(t.Context(), last, c.Size); err != nil || root != c.Root {
			t.Errorf("the checkpoint of %d is not of the log: %v", c.Size, err)
		}
	}
	ends, err := ledger.Ends(t.Context(), eventstore.Uses)
	if err != nil {
		t.Fatal(err)
	}
	unhashed, hashes := 0, n.log.Hashes(t.Context(), last)
	for p := eventstore.Position(1); p <= ends.Last; p++ {
		have, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(p)-1)})
		if err != nil {
			t.Fatal(err)
		}
		if eventstore.Hash(have[0]) == (eventstore.Leaf{Stream: eventstore.Uses, Position: p}).Hash() {
			unhashed++
		} else if p <= 200 {
			t.Errorf("position %d was never signed, and has a hash", p)
		}
	}
	if unhashed < 200 || n.counted("keytrail_trail_unhashed_total") != float64(unhashed) || signer.Status()[eventstore.Uses].Fork != "" {
		t.Errorf("%d uses were not hashed, %v counted: %+v", unhashed, n.counted("keytrail_trail_unhashed_total"), signer.Status())
	}
}

// A first pass over many messages signs on its way, one log.
func TestAFirstPassSignsOnItsWay(t *testing.T) {
	audit.SetMaxLeaves(t, 7000)
	n := newNode(t, eventstoretest.Server(t))
	const messages = 50_000
	n.uses(1)
	one, err := n.ledger.Message(t.Context(), eventstore.Uses, 1)
	if err != nil {
		t.Fatal(err)
	}
	js := eventstoretest.JetStream(t, n.server)
	for i := range messages - 1 { // as fast as the server takes them
		m := &nats.Msg{Subject: one.Subject, Header: nats.Header(one.Header), Data: one.Data}
		if _, err := js.PublishMsgAsync(m, jetstream.WithMsgID(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 999 {
			<-js.PublishAsyncComplete()
		}
	}
	<-js.PublishAsyncComplete()
	n.sign()
	var chain []audit.Checkpoint
	until(t, "all of it signed", func() bool {
		c, err := n.log.Checkpoint(t.Context(), eventstore.Uses)
		if err == nil && (len(chain) == 0 || chain[len(chain)-1].Size != c.Size) {
			chain = append(chain, c)
		}
		return err == nil && c.Size >= messages
	})
	last := chain[len(chain)-1]
	n.check(eventstore.Uses, last)
	for _, c := range chain {
		if root, err := n.log.RootAt(t.Context(), last, c.Size); err != nil || root != c.Root {
			t.Errorf("the checkpoint of %d is not of the log: %v", c.Size, err)
		}
	}
	if len(chain) < 2 {
		t.Errorf("%d checkpoints", len(chain))
	}
}
