package commands

import (
	"errors"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// maxAccessKinds is how many kinds of reads and refusals of one principal are told apart at a
// time: one that reads a key a second leaves fewer than an event a minute.
const maxAccessKinds = 20

// maxAccesses is how many are counted at a time.
const maxAccesses = 20_000

// A DataRead says that a principal has read of an organization, or, if that is the Installation,
// of several.
type DataRead struct {
	By       domain.Principal
	Org      domain.OrgID
	Of       func(domain.Reading) domain.Sum // the type of the event
	Route    string
	Filter   map[string]string // without the range of times
	From, To time.Time         // zero: open
}

// RecordRead puts r on record, within a second: the request is on the ledger already, as a use of
// the principal's key, so that the answer does not wait.
func (h *Handler) RecordRead(r DataRead) {
	what := r.Of(domain.Reading{Route: r.Route, Filter: clipFilter(r.Filter), Occurrences: h.once(r.By, r.From, r.To)})
	h.accesses.join(occurrence{by: r.By, org: r.Org, what: what}, h.clock())
}

// RecordRefusal puts on record, within a second, that a principal who is known was refused at a
// route, which needs a scope, if that was for its scope or its reach.
func (h *Handler) RecordRefusal(by domain.Principal, route, scope string, err error) {
	var refusal *domain.Error
	if by.ID == "" || !errors.As(err, &refusal) || !refusal.OfAccess() {
		return
	}
	what := domain.AccessRefused{Route: route, Scope: scope, Code: refusal.Code, Occurrences: h.once(by, time.Time{}, time.Time{})}
	h.accesses.join(occurrence{by: by, org: by.Org, what: what}, h.clock())
}
