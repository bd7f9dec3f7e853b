package evidence

import (
	"bytes"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keytrail/keytrail/eventstore"
)

// maxUses bounds what is remembered of one message of uses, whose body has less than 64 KiB.
const maxUses = 1 << 16

// A usesVerifier verifies the uses of one message, whose leaf has the root of their tree.
type usesVerifier struct {
	message message
	next    int    // the index that the next use has at least
	hashes  []hash // of all uses so far, if all are to be in the bundle
}

func (s *sectionVerifier) beginMessage(line []byte) error {
	m := &usesVerifier{}
	err := m.message.read(line)
	if err == nil {
		s.buffer = m.message.append(s.buffer[:0])
		err = demandSpelling(line, s.buffer)
	}
	if err == nil && (m.message.Count < 0 || m.message.Count > maxUses) {
		err = fmt.Errorf("a message cannot have %d uses", m.message.Count)
	}
	if err != nil {
		return s.wrong(s.last+1, "%v", err)
	}
	if err := s.leaf(m.message.leaf()); err != nil {
		return err
	}
	s.report.Counts.Messages++
	m.message.Head = bytes.Clone(m.message.Head)
	s.message = m
	return nil
}

// leaf is what the log has of the message.
func (m *message) leaf() eventstore.Leaf {
	commitment := eventstore.UsesCommitment(string(m.Head), m.Count, eventstore.Hash(m.Root))
	return eventstore.Leaf{Stream: eventstore.Uses, Position: m.Position, ID: m.ID, Subject: m.Subject, Body: commitment}
}

func (s *sectionVerifier) use(line []byte) error {
	m := s.message
	p := m.message.Position
	var u use
	if err := u.read(line); err != nil {
		return s.wrong(p, "%v", err)
	}
	s.buffer = u.append(s.buffer[:0])
	if err := demandSpelling(line, s.buffer); err != nil {
		return s.wrong(p, "%v", err)
	}
	index, err := u.index(p)
	if err != nil || index < m.next || index >= m.message.Count {
		return s.wrong(p, "the use %.40q is out of place: it was inserted, or others were removed or reordered", u.Identity)
	}
	h := tlog.Hash(eventstore.HashUse(u.Salt, string(u.Line)))
	if err := s.place(&u, index, h); err != nil {
		return err
	}
	m.next = index + 1
	s.report.Counts.Uses++
	return nil
}

// place compares a use with the root of its message's tree: alone, if it is of a bundle of an
// organization, or when all uses are there.
func (s *sectionVerifier) place(u *use, index int, h tlog.Hash) error {
	m := s.message
	if s.report.Manifest.Complete() {
		if index != len(m.hashes) || u.Path != nil {
			return s.wrong(m.message.Position, "the use %d is missing: %s comes in its place", len(m.hashes), u.Identity)
		}
		m.hashes = append(m.hashes, hash(h))
		return nil
	}
	if !strings.HasPrefix(string(u.Line), useOf(s.report.Manifest.Organization)) {
		return s.wrong(m.message.Position, "the use %s is of another organization than the bundle", u.Identity)
	}
	if err := m.message.check(index, h, u.Path); err != nil {
		return s.wrong(m.message.Position, "the use %s is not what was logged", u.Identity)
	}
	return nil
}

// check compares a use with the root of the message's tree.
func (m *message) check(index int, h tlog.Hash, path []hash) error {
	proof := make(tlog.RecordProof, len(path))
	for i, p := range path {
		proof[i] = tlog.Hash(p)
	}
	return tlog.CheckRecord(proof, int64(m.Count), tlog.Hash(m.Root), int64(index), h)
}

// index is that of the use in the message at p.
func (u *use) index(p eventstore.Position) (i int, err error) {
	if _, err = fmt.Sscanf(u.Identity, "%d.%d", new(uint64), &i); err == nil && u.Identity != identity(p, i) {
		err = errLine
	}
	return i, err
}

// endMessage is called after the last use of a message, if there is one.
func (s *sectionVerifier) endMessage() error {
	m := s.message
	s.message = nil
	if m == nil || !s.report.Manifest.Complete() || m.message.Count == 0 {
		return nil
	}
	if len(m.hashes) != m.message.Count {
		return s.wrong(m.message.Position, "it has %d of %d uses", len(m.hashes), m.message.Count)
	}
	if rootOf(m.hashes) != tlog.Hash(m.message.Root) {
		return s.wrong(m.message.Position, "its uses are not those that were logged")
	}
	return nil
}
