package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/formats/witness"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/keytrail/keytrail/audit"
)

// A Trust is the keys that an auditor trusts: those of the logs, and which witnesses have to have
// signed beside them. The zero value trusts nothing.
type Trust struct {
	Logs      []note.Verifier
	quorum    *witness.Group // of witnesses; nil: none has to have signed
	witnesses []note.Verifier
}

// AddKey trusts the log key in a verifier key.
func (t *Trust) AddKey(vkey string) error {
	v, err := audit.NewVerifier(vkey)
	if err == nil && !has(t.Logs, v.Name(), v.KeyHash()) {
		t.Logs = append(t.Logs, v)
	}
	return err
}

// ParsePolicy is the trust that a policy (C2SP tlog-policy) tells: log keys, witnesses, and a
// quorum of these.
func ParsePolicy(text []byte) (t Trust, err error) {
	var lines bytes.Buffer
	for line := range bytes.Lines(text) {
		if fields := strings.Fields(string(line)); len(fields) > 0 && fields[0] == "log" {
			if len(fields) < 2 {
				return t, fmt.Errorf("policy: a log has no key: %.80q", line)
			}
			if err := t.AddKey(fields[1]); err != nil {
				return t, fmt.Errorf("policy: %w", err)
			}
		} else if len(fields) >= 3 && fields[0] == "witness" {
			if err := t.addWitness(fields); err != nil {
				return t, err
			}
			fmt.Fprintln(&lines, strings.Join(fields[:3], " "), witnessURL(fields))
		} else {
			lines.Write(line)
		}
	}
	if err := checkGroups(text); err != nil {
		return t, err
	}
	group, err := witness.ParsePolicy(lines.Bytes())
	if err != nil {
		return t, fmt.Errorf("policy: %w", err)
	}
	if len(t.Logs) == 0 {
		return t, errors.New("policy: it names no log")
	}
	t.quorum = &group
	return t, nil
}

// checkGroups refuses what the specification does and its parser takes: members that count more
// than once, groups that need no member, and a second quorum.
func checkGroups(text []byte) error {
	var members []string
	quorums := 0
	for line := range bytes.Lines(text) {
		fields := strings.Fields(string(line))
		if len(fields) > 0 && fields[0] == "quorum" {
			quorums++
		}
		if len(fields) < 3 || fields[0] != "group" {
			continue
		}
		if strings.Trim(fields[2], "0") == "" {
			return fmt.Errorf("policy: the group %s needs none of its members", fields[1])
		}
		for _, name := range fields[3:] {
			if strings.HasPrefix(name, "#") {
				break
			}
			if slices.Contains(members, name) {
				return fmt.Errorf("policy: %s is a member twice: it would count twice", name)
			}
			members = append(members, name)
		}
	}
	if quorums != 1 {
		return errors.New("policy: it must have one quorum")
	}
	return nil
}

// witnessURL is where a witness is asked, which an auditor's policy need not say and its parser
// demands.
func witnessURL(fields []string) string {
	if len(fields) > 3 && !strings.HasPrefix(fields[3], "#") {
		return fields[3]
	}
	return "https://witness.invalid"
}

// addWitness notes a witness, to tell when it has signed.
func (t *Trust) addWitness(fields []string) error {
	v, err := fnote.NewVerifierForCosignatureV1(fields[2])
	if err != nil {
		return fmt.Errorf("policy: witness %s: %w", fields[1], err)
	}
	if has(t.witnesses, v.Name(), v.KeyHash()) {
		return fmt.Errorf("policy: the key of witness %s is there already: it would count twice", fields[1])
	}
	t.witnesses = append(t.witnesses, v)
	return nil
}

// A Head is a log's signed tree head.
type Head struct {
	Origin      string        `json:"origin"`
	Size        uint64        `json:"size"`
	Root        tlog.Hash     `json:"root"`
	SignedBy    []string      `json:"signed_by"` // names and ids of the log's keys that are trusted
	CosignedBy  []Cosignature `json:"cosigned_by"`
	QuorumAsked bool          `json:"quorum_asked"` // the policy says which witnesses must have signed, and they have
}

// A Cosignature is that of a witness.
type Cosignature struct {
	Witness string    `json:"witness"`
	At      time.Time `json:"at"`
}

// parseHead reads a checkpoint. Nothing is known of its signatures.
func parseHead(checkpoint []byte) (Head, error) {
	c, err := audit.ParseCheckpoint(checkpoint)
	return Head{Origin: c.Origin, Size: uint64(c.Size), Root: tlog.Hash(c.Root)}, err
}

// open reads a checkpoint that a trusted key of its log, and the quorum of witnesses, have signed.
func (t *Trust) open(checkpoint string) (Head, error) {
	n, err := note.Open([]byte(checkpoint), note.VerifierList(append(t.Logs, t.witnesses...)...))
	if err != nil {
		var unknown *note.UnverifiedNoteError
		if errors.As(err, &unknown) {
			err = errors.New("no key that is trusted has signed it")
		}
		return Head{}, err
	}
	h, err := parseHead([]byte(checkpoint))
	if err != nil {
		return h, err
	}
	for _, s := range n.Sigs {
		if has(t.Logs, s.Name, s.Hash) && s.Name == h.Origin {
			h.SignedBy = append(h.SignedBy, fmt.Sprintf("%s+%08x", s.Name, s.Hash))
		}
		if has(t.witnesses, s.Name, s.Hash) {
			at, _ := fnote.CoSigV1Timestamp(s) // note.Open has read it
			h.CosignedBy = append(h.CosignedBy, Cosignature{fmt.Sprintf("%s+%08x", s.Name, s.Hash), at.UTC()})
		}
	}
	if h.SignedBy == nil {
		return h, fmt.Errorf("no trusted key of the log %.100q has signed it", h.Origin)
	}
	if t.quorum != nil {
		if !t.quorum.Satisfied([]byte(checkpoint)) {
			return h, errors.New("the policy's quorum of witnesses has not signed it")
		}
		h.QuorumAsked = t.quorum.N > 0
	}
	return h, nil
}

func has(keys []note.Verifier, name string, hash uint32) bool {
	return slices.ContainsFunc(keys, func(v note.Verifier) bool { return v.Name() == name && v.KeyHash() == hash })
}
