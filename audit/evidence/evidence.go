// Package evidence is what an auditor takes home: bundles of events and uses, and proofs of single
// ones, and the check of both, which needs no service and no network.
//
// A bundle is a file of JSON lines. The manifest comes first: what the bundle holds and proves,
// and the signed checkpoint of each log. Then come the events, one a line, and the uses, each log's
// after a line that names it. Among them are lines of hashes: a subtree's parts come before what is
// in the subtree. So a verifier that reads the file once, in a few kilobytes of memory, compares
// each event with a hash that leads up to the signed root when it comes, and names the first one
// that is wrong. Hashes of what is left out are there only where they are needed: at the ends of a
// range, and between the events of one organization. docs/audit.md has it for other verifiers.
package evidence

import (
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

const bundleFormat = "keytrail-bundle-v1"

// A Manifest is the first line of a bundle. It is not signed: it says what to compare with what
// is, and Verify believes none of it.
type Manifest struct {
	Format       string       `json:"format"`
	Version      string       `json:"keytrail"` // of the program that made it
	At           time.Time    `json:"made_at"`
	Organization domain.OrgID `json:"organization,omitempty"` // whose events and uses it has; "": all
	From         *time.Time   `json:"from,omitempty"`         // as it was asked for: what was stored from then on
	To           *time.Time   `json:"to,omitempty"`           // and before then
	Proves       []string     `json:"proves"`
	DoesNotProve []string     `json:"does_not_prove"`
	VerifierKeys []string     `json:"verifier_keys"`
	Logs         []Log        `json:"logs"`
}

// A Log is what a bundle says of one log. Its positions are those of its stream.
type Log struct {
	Stream      string              `json:"stream"`
	First       eventstore.Position `json:"first"` // what the bundle has lies between them, both included
	Last        eventstore.Position `json:"last"`
	Checkpoint  string              `json:"checkpoint"` // a signed note
	Consistency *Consistency        `json:"consistency,omitempty"`
}

// A Consistency is a proof (RFC 6962) that an older tree is the beginning of the checkpoint's.
type Consistency struct {
	Size   uint64 `json:"size"` // of the older one
	Hashes []hash `json:"hashes"`
}

// Complete reports whether the bundle is to have everything between its positions.
func (m *Manifest) Complete() bool { return m.Organization == "" }
