package eventstore

import (
	"time"

	"github.com/keytrail/keytrail/domain"
)

// keyCreated decodes key.created several times faster than encoding/json: it is most of
// what a replay reads. A text that is not spelled as encoding/json writes the struct is left
// to that.
func keyCreated(data []byte, private domain.Private) (domain.Event, bool) {
	e := domain.KeyCreated{Digest: private.Digest}
	s := scanner{string(data)}
	return e, s.keyCreated(&e) && s.rest == ""
}

func (s *scanner) keyCreated(e *domain.KeyCreated) bool {
	ok := s.member(`{"key_id":`, (*string)(&e.ID)) &&
		s.member(`,"org_id":`, (*string)(&e.Org)) &&
		s.member(`,"keyspace":`, &e.Keyspace) &&
		s.member(`,"name":`, &e.Name) &&
		s.optional(`,"owner":`, &e.Owner) &&
		s.optionalTexts(`,"scopes":[`, &e.Scopes) &&
		(!s.skip(`,"expires_at":`) || s.time(&e.ExpiresAt)) &&
		(!s.skip(`,"rate_limits":[`) || s.rateLimits(&e.RateLimits)) &&
		s.optionalTexts(`,"allowed_cidrs":[`, &e.AllowedCIDRs) &&
		(!s.skip(`,"metadata":{`) || s.metadata(&e.Metadata)) &&
		s.member(`,"prefix":`, &e.Prefix)
	if !ok {
		return false
	}
	e.Imported = s.skip(`,"imported":true`)
	e.Root = s.skip(`,"root":true`)
	return s.skip(`,"at":`) && s.time(&e.At) && s.member(`,"by":`, &e.By) && s.skip("}")
}

// time reads what time.Time.UnmarshalJSON reads: both are the same strict parser.
func (s *scanner) time(t *time.Time) bool {
	var v string
	return s.text(&v) && t.UnmarshalText([]byte(v)) == nil
}

func (s *scanner) digest(d *domain.Digest) bool {
	var v string
	return s.text(&v) && d.UnmarshalText([]byte(v)) == nil
}

func (s *scanner) rateLimits(limits *[]domain.RateLimit) bool {
	return s.list(func() bool {
		var l domain.RateLimit
		var window string
		ok := s.skip(`{"limit":`) && s.number(&l.Limit) && s.member(`,"window":`, &window) && s.skip("}") &&
			l.Window.UnmarshalText([]byte(window)) == nil
		*limits = append(*limits, l)
		return ok
	})
}

func (s *scanner) metadata(m *map[string]string) bool {
	*m = make(map[string]string)
	for {
		var name, value string
		if !s.text(&name) || !s.member(":", &value) {
			return false
		}
		(*m)[name] = value
		if !s.skip(",") {
			return s.skip("}")
		}
	}
}
