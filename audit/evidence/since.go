package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keytrail/keytrail/eventstore"
)

// ReadOlder reads what an auditor has kept: a checkpoint, or a bundle, of which only the beginning
// is needed. Signatures are not looked at: who keeps a head trusts it, and a false one is not of
// the log.
func ReadOlder(text []byte) ([]Head, error) {
	if !bytes.HasPrefix(text, []byte("{")) {
		h, err := parseHead(text)
		return []Head{h}, err
	}
	line, _, whole := bytes.Cut(text, []byte("\n"))
	var m Manifest
	if !whole || json.Unmarshal(line, &m) != nil || m.Format != bundleFormat {
		return nil, ErrNoBundle
	}
	var heads []Head
	for _, l := range m.Logs {
		h, err := parseHead([]byte(l.Checkpoint))
		if err != nil {
			return nil, err
		}
		heads = append(heads, h)
	}
	return heads, nil
}

// OlderBytes is how much of a file ReadOlder needs.
const OlderBytes = maxLine

// checkOlder compares the older heads with the checkpoints. What a whole bundle tells without a
// proof is left to it.
func (v *verifier) checkOlder(heads []Head) error {
	v.older = make([]*Head, len(v.report.Heads))
	for _, old := range heads {
		i := slices.IndexFunc(v.report.Heads, func(h Head) bool { return h.Origin == old.Origin })
		if i < 0 {
			return fmt.Errorf("the older checkpoint is of the log %.100q, and the bundle is of another one", old.Origin)
		}
		l, head := &v.report.Manifest.Logs[i], v.report.Heads[i]
		known, err := compare(old, head, l.Consistency)
		switch {
		case err != nil:
			return &Wrong{l.Stream, eventstore.Position(min(old.Size, head.Size)), err.Error()}
		case known:
			v.report.Since = append(v.report.Since, old)
		case v.report.Manifest.Complete() && l.First == 1 && old.Size <= uint64(l.Last):
			v.older[i] = &old
		default:
			return fmt.Errorf("the bundle does not tell whether its log of %s goes on from the older checkpoint: export it with --since", l.Stream)
		}
	}
	return nil
}

var (
	errShrunk   = errors.New("the log ends before the older checkpoint does")
	errOtherLog = errors.New("the log at or before this position is not the one that the older checkpoint is of: it was rewritten")
)

// compare reports whether an older head is known to be of the same log.
func compare(old, head Head, c *Consistency) (known bool, err error) {
	switch {
	case old.Size > head.Size:
		return false, errShrunk
	case old.Size == head.Size && old.Root != head.Root:
		return false, errOtherLog
	case old.Size == 0, old.Size == head.Size:
		return true, nil
	case c == nil || c.Size != old.Size:
		return false, nil
	}
	var proof tlog.TreeProof
	for _, h := range c.Hashes {
		proof = append(proof, tlog.Hash(h))
	}
	if tlog.CheckTree(proof, int64(head.Size), head.Root, int64(old.Size), old.Root) != nil {
		return false, errOtherLog
	}
	return true, nil
}

// reach goes past a leaf, and compares the log so far with an older head of its size.
func (s *sectionVerifier) reach(leaf tlog.Hash) error {
	if s.older == nil {
		return nil
	}
	s.prefix.add(leaf)
	if s.prefix.size < s.older.Size {
		return nil
	}
	if s.prefix.root() != s.older.Root {
		return s.wrong(s.last, "%v", errOtherLog)
	}
	s.report.Since, s.older = append(s.report.Since, *s.older), nil
	return nil
}

// NewConsistency is the proof that the tree of an older size is the beginning of a log.
func NewConsistency(size uint64, proof tlog.TreeProof) *Consistency {
	return &Consistency{size, hashes(proof)}
}
