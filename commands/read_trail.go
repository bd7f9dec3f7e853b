package commands

import (
	"context"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// maxTrailFilters is how many filters of one reader of the trail are told apart at a time.
const maxTrailFilters = 60

// maxTrailReads is how many reads of the trail are counted at a time. What finds no room is an
// event each time.
const maxTrailReads = 50_000

// ReadTrail says that its principal is about to read the audit trail.
type ReadTrail struct {
	Request
	Access    domain.TrailAccess
	Filter    map[string]string // without the range of times
	From, To  time.Time         // zero: open
	Continued bool              // a follow that had begun goes on
}

// ReadTrail carries out c. The first read of its kind is an event before the trail is read: who
// reads it is known at once. When it fails, which it does when the ledger takes no events, the
// trail is not to be read.
func (h *Handler) ReadTrail(ctx context.Context, c ReadTrail) error {
	read := domain.TrailRead{Access: c.Access, Filter: clipFilter(c.Filter), Occurrences: h.once(c.By, c.From, c.To)}
	s, found := h.reads.join(occurrence{by: c.By, org: c.By.Org, what: read, continued: c.Continued}, h.clock())
	if found {
		return s.wait(ctx)
	}
	s.err = h.writeSum(context.WithoutCancel(ctx), c.Request, s.org, s.kind.With(read.Occurrences)) // others wait for it
	if s.err != nil {
		h.reads.drop(s)
	}
	close(s.written)
	return s.err
}

// once is what a principal did just now, of a range of times.
func (h *Handler) once(by domain.Principal, from, to time.Time) domain.Occurrences {
	at := h.now()
	return domain.Occurrences{From: from, To: to, Count: 1, First: at, Header: domain.Header{At: at, By: by.ID}}
}
