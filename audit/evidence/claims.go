package evidence

import (
	"fmt"
	"slices"
)

// claim says on the bundle what it proves. It is for people: Verify has its own view.
func (m *Manifest) claim() { m.Proves, m.DoesNotProve = m.claims() }

// claims are what a bundle like this proves if it verifies, and what it does not.
func (m *Manifest) claims() (proves, not []string) {
	proves = []string{"Each event and each use in this bundle is as it was logged, at its position."}
	if m.Complete() {
		proves = append(proves, m.coverage()...)
		return append(proves, "Each event names the event before it of the same key, organization or keyspace."),
			[]string{notOnlyHistory, notTrue}
	}
	return append(proves, "No history of a key, or of another part of this organization, has a gap between its first and its last event in this bundle."),
		[]string{"That the newest events of a history were not withheld.", "That no history was withheld as a whole.", "That no uses were withheld.", notOnlyHistory, notTrue}
}

const (
	notOnlyHistory = "That the holder of the log's keys has not signed another history for someone else: cosignatures of witnesses prove that, and checkpoints that auditors compare."
	notTogether    = "That the holder of the log's keys and the witnesses have not signed another history together."
	notTrue        = "That what was logged is true."
	notWhose       = "Whose log it is: the keys are those that the file names itself. Get them another way, and give them with --vkey or --policy."
)

// coverage says of each log between which positions nothing is missing.
func (m *Manifest) coverage() (lines []string) {
	for _, l := range m.Logs {
		if l.Last < l.First {
			continue
		}
		lines = append(lines, fmt.Sprintf("Of the log of %s, nothing from position %d to %d was changed, removed, reordered or inserted, or left out of this bundle.", l.Stream, l.First, l.Last))
	}
	return lines
}

// Claims are what was proved of a bundle that Verify has found good, and what was not.
func (r *Report) Claims() (proved, not []string) {
	proved, not = r.Manifest.claims()
	for i, l := range r.Manifest.Logs {
		h := &r.Heads[i]
		switch {
		case !r.Manifest.Complete():
		case l.Last < l.First && h.Size > 0:
			not = append(not, fmt.Sprintf("Anything of the log of %s, of which nothing is in this bundle; the checkpoint is of %d.", l.Stream, h.Size))
		case l.First > 1 || uint64(l.Last) < h.Size:
			not = append(not, fmt.Sprintf("Anything of the log of %s before position %d and after %d; the checkpoint is of %d.", l.Stream, l.First, l.Last, h.Size))
		}
		if h.QuorumAsked {
			proved = append(proved, fmt.Sprintf("The witnesses that the policy asks for have signed the log of %s, as the continuation of all that they signed before.", l.Stream))
		}
	}
	if !slices.ContainsFunc(r.Heads, func(h Head) bool { return !h.QuorumAsked }) {
		not[slices.Index(not, notOnlyHistory)] = notTogether
	}
	for _, h := range r.Since {
		proved = append(proved, fmt.Sprintf("%s goes on from the older checkpoint of %d positions: nothing before that was changed.", h.Origin, h.Size))
	}
	if r.BeganBefore > 0 {
		not = append(not, fmt.Sprintf("How %d histories began, before the first position of this bundle.", r.BeganBefore))
	}
	if r.FirstUse {
		not = append(not, notWhose)
	}
	return proved, not
}

// Claims are what was proved by a good proof, and what was not.
func (p *Proved) Claims() (proved, not []string) {
	proved = []string{"It is as it was logged, at this position."}
	not = []string{"What came before and after it.", notOnlyHistory, notTrue}
	if p.Head.QuorumAsked {
		not[1] = notTogether
		proved = append(proved, "The witnesses that the policy asks for have signed the log.")
	}
	if p.FirstUse {
		not = append(not, notWhose)
	}
	return proved, not
}
