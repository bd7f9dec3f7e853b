package verify

import (
	"strconv"
	"sync"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/fastjson"
	"github.com/keytrail/keytrail/internal/token"
	"github.com/keytrail/keytrail/projections"
)

// An Answer is the outcome of a Request, and the key that was found. It can be used again.
type Answer struct {
	Outcome    domain.Outcome
	Credential projections.Credential // of no meaning if Outcome is UseNotFound
	conditions                        // of no meaning either, then
	ByToken    bool                   // it was found by a derived token: Credential has what both give
	Limits     []LimitState
	Quotas     []QuotaState
	Position   eventstore.Position // of the read model that decided
	version    uint64              // of the same, see projections.Store.Version

	at       time.Time          // when it was evaluated
	cost     int64              // of the request, in rate limits
	deadline time.Time          // of the request
	digest   domain.Digest      // of its secret
	token    token.Claims       // of the derived token, if ByToken
	counts   []int64            // of other uses, for each rate limit
	windows  []int64            // lengths of the windows in which this evaluation counts the use
	counted  []domain.Window    // all windows in which the request counts
	quotas   []domain.UsesQuota // of the organization's plan, that are about the key
	meters   []*meterCount      // of the quotas; of meters.evaluate alone
	used     []int64            // by other uses, of each quota
	metered  domain.Month       // in which the request counts; 0: in none
	counting bool               // this evaluation counts the use in it
}

// A LimitState is a rate limit and what is left of it after a use.
type LimitState struct {
	domain.RateLimit
	Remaining int64
	Reset     int64 // seconds since the Unix epoch: when the window ends
}

// A QuotaState is a quota of uses and what is left of it after a use.
type QuotaState struct {
	domain.UsesQuota
	Remaining int64
	month     domain.Month
}

// Reset is when the month ends, in seconds since the Unix epoch.
func (q QuotaState) Reset() int64 { return q.month.End().Unix() }

// Month is in which the uses count.
func (q QuotaState) Month() domain.Month { return q.month }

var answers = sync.Pool{New: func() any { return new(Answer) }}

// RateLimited is domain.ErrRateLimited with the time until Reset.
func (a *Answer) RateLimited(now time.Time) error {
	e := *domain.ErrRateLimited
	e.Wait = time.Unix(a.Reset(), 0).Sub(now)
	return &e
}

// Exceeded is domain.ErrQuotaExceeded with the time until the month ends.
func (a *Answer) Exceeded(now time.Time) error {
	e := *domain.ErrQuotaExceeded
	e.Wait = domain.MonthAt(a.at).End().Sub(now)
	return &e
}

// Reset is when every window that has no room for the request has ended, in seconds since the
// Unix epoch.
func (a *Answer) Reset() (at int64) {
	for _, l := range a.Limits {
		if l.Remaining < a.cost {
			at = max(at, l.Reset)
		}
	}
	return at
}

// holder is the organization whose the use is: of a session without one, the installation.
func (a *Answer) holder() domain.OrgID {
	if a.Credential.Org == "" {
		return domain.Installation
	}
	return a.Credential.Org
}

// AppendJSON appends the answer as JSON, as the API gives it.
func (a *Answer) AppendJSON(b []byte) []byte {
	b = strconv.AppendBool(append(b, `{"valid":`...), a.Outcome == domain.UseValid)
	b = append(append(append(b, `,"code":"`...), a.Outcome...), '"')
	if a.Outcome != domain.UseNotFound {
		b = appendCredential(b, &a.Credential)
		b = append(b, `,"rate_limits":[`...)
		for i, l := range a.Limits {
			if i > 0 {
				b = append(b, ',')
			}
			b = l.appendJSON(b)
		}
		b = append(b, ']')
		b = a.appendQuotas(b)
	}
	if a.Outcome == domain.UseRequirementUnmet {
		b = appendRequirement(b, &a.Keyspace.Requirements[a.Unmet])
	}
	b = fastjson.AppendIntMember(b, `,"position":`, int64(a.Position))
	return append(b, '}')
}

// appendCredential appends what an answer says of the key, or of the session. Ids and keyspace are of
// characters that need no escapes.
func appendCredential(b []byte, c *projections.Credential) []byte {
	if c.Session != "" {
		b = append(append(append(b, `,"session_id":"`...), c.Session...), '"')
		b = fastjson.AppendMember(b, `,"user_id":`, string(c.User))
		b = fastjson.AppendMember(b, `,"role":`, c.Role)
	} else {
		b = append(append(append(b, `,"key_id":"`...), c.Key...), '"')
	}
	if c.Org == domain.Installation || c.Org == "" {
		b = append(b, `,"org_id":null`...)
	} else {
		b = append(append(append(b, `,"org_id":"`...), c.Org...), '"')
	}
	b = fastjson.AppendOptionalMember(b, `,"keyspace":`, c.Keyspace)
	b = fastjson.AppendOptionalMember(b, `,"environment":`, c.Environment)
	b = fastjson.AppendMember(b, `,"owner":`, c.Owner)
	b = fastjson.AppendMember(b, `,"name":`, c.Name)
	b = fastjson.AppendStrings(append(b, `,"scopes":`...), c.Scopes)
	if c.ExpiresAt == 0 {
		b = append(b, `,"expires_at":null`...)
	} else {
		b = time.UnixMilli(c.ExpiresAt).UTC().AppendFormat(append(b, `,"expires_at":"`...), time.RFC3339Nano)
		b = append(b, '"')
	}
	return append(append(b, `,"metadata":`...), c.Metadata...)
}

// appendRequirement appends which requirement is not met, so that a service that is no gateway can
// answer what the keyspace's reply says. An attribute's name needs no escapes.
func appendRequirement(b []byte, r *domain.Requirement) []byte {
	b = append(append(b, `,"requirement":{"attribute":"`...), r.Attribute...)
	if r.OfOrganization() {
		return append(b, `","of":"organization"}`...)
	}
	return append(b, `","of":"owner"}`...)
}

// appendQuotas appends the member of the quotas, if there are some.
func (a *Answer) appendQuotas(b []byte) []byte {
	for i, q := range a.Quotas {
		if i == 0 {
			b = append(b, `,"quotas":[`...)
		} else {
			b = append(b, ',')
		}
		b = append(append(b, `{"of":"`...), q.Of.String()...)
		b = fastjson.AppendIntMember(b, `","limit":`, q.Limit)
		b = fastjson.AppendIntMember(b, `,"remaining":`, q.Remaining)
		b = append(fastjson.AppendIntMember(b, `,"reset":`, q.Reset()), '}')
	}
	if len(a.Quotas) > 0 {
		b = append(b, ']')
	}
	return b
}

func (l LimitState) appendJSON(b []byte) []byte {
	b = fastjson.AppendIntMember(b, `{"limit":`, l.Limit)
	b = append(append(b, `,"window":"`...), l.Window.String()...)
	b = fastjson.AppendIntMember(b, `","remaining":`, l.Remaining)
	b = fastjson.AppendIntMember(b, `,"reset":`, l.Reset)
	return append(b, '}')
}
