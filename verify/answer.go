package verify

import (
	"strconv"
	"sync"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/projections"
)

// An Answer is the outcome of a Request, and the key that was found. It can be used again.
type Answer struct {
	Outcome    domain.Outcome
	Credential projections.Credential // of no meaning if Outcome is UseNotFound
	Limits     []LimitState
	Position   eventstore.Position // of the read model that decided

	at       time.Time     // when it was evaluated
	deadline time.Time     // of the request
	digest   domain.Digest // of its secret
	counts   []int64       // of other uses, for each rate limit
	windows  []int64       // lengths of the windows in which this evaluation counts the use
	counted  []window      // all windows in which the request counts
}

// A LimitState is a rate limit and what is left of it after a use.
type LimitState struct {
	domain.RateLimit
	Remaining int64
	Reset     int64 // seconds since the Unix epoch: when the window ends
}

var answers = sync.Pool{New: func() any { return new(Answer) }}

// RateLimited is domain.ErrRateLimited with the time until Reset.
func (a *Answer) RateLimited(now time.Time) error {
	e := *domain.ErrRateLimited
	e.Wait = time.Unix(a.Reset(), 0).Sub(now)
	return &e
}

// Reset is when every window that is used up has ended, in seconds since the Unix epoch.
func (a *Answer) Reset() (at int64) {
	for _, l := range a.Limits {
		if l.Remaining == 0 {
			at = max(at, l.Reset)
		}
	}
	return at
}

// AppendJSON appends the answer as JSON, as the API gives it.
func (a *Answer) AppendJSON(b []byte) []byte {
	if a.Outcome == domain.UseValid {
		b = append(b, `{"valid":true,"code":"`...)
	} else {
		b = append(b, `{"valid":false,"code":"`...)
	}
	b = append(b, a.Outcome...)
	b = append(b, '"')
	if a.Outcome != domain.UseNotFound {
		b = appendKey(b, &a.Credential)
		b = append(b, `,"rate_limits":[`...)
		for i, l := range a.Limits {
			b = l.appendJSON(b, i > 0)
		}
		b = append(b, ']')
	}
	b = append(b, `,"position":`...)
	b = strconv.AppendUint(b, uint64(a.Position), 10)
	return append(b, '}')
}

// appendKey appends what an answer says of the key. Its ids, keyspace and scopes are of
// characters that need no escapes.
func appendKey(b []byte, c *projections.Credential) []byte {
	b = append(append(b, `,"key_id":"`...), c.Key...)
	if c.Org == domain.Installation {
		b = append(b, `","org_id":null`...)
	} else {
		b = append(append(append(b, `","org_id":"`...), c.Org...), '"')
	}
	b = append(append(b, `,"keyspace":"`...), c.Keyspace...)
	b = eventstore.AppendString(append(b, `","owner":`...), c.Owner)
	b = eventstore.AppendString(append(b, `,"name":`...), c.Name)
	b = append(b, `,"scopes":[`...)
	for i, scope := range c.Scopes {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), scope...), '"')
	}
	if c.ExpiresAt == 0 {
		b = append(b, `],"expires_at":null`...)
	} else {
		b = time.UnixMilli(c.ExpiresAt).UTC().AppendFormat(append(b, `],"expires_at":"`...), time.RFC3339Nano)
		b = append(b, '"')
	}
	return append(append(b, `,"metadata":`...), c.Metadata...)
}

func (l LimitState) appendJSON(b []byte, more bool) []byte {
	if more {
		b = append(b, ',')
	}
	b = append(b, `{"limit":`...)
	b = strconv.AppendInt(b, l.Limit, 10)
	b = append(b, `,"window":"`...)
	b = append(b, l.Window.String()...)
	b = append(b, `","remaining":`...)
	b = strconv.AppendInt(b, l.Remaining, 10)
	b = append(b, `,"reset":`...)
	b = strconv.AppendInt(b, l.Reset, 10)
	return append(b, '}')
}
