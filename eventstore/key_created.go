package eventstore

import (
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/fastjson"
)

// keyCreated decodes key.created several times faster than encoding/json: it is most of
// what a replay reads. A text that is not spelled as encoding/json writes the struct is left
// to that.
func keyCreated(data []byte, private domain.Private) (domain.Event, bool) {
	e := domain.KeyCreated{Digest: private.Digest, Sealed: private.Sealed}
	s := fastjson.NewScanner(string(data))
	return e, scanKeyCreated(&s, &e) && s.End()
}

func scanKeyCreated(s *fastjson.Scanner, e *domain.KeyCreated) bool {
	ok := s.Member(`{"key_id":`, (*string)(&e.ID)) &&
		s.Member(`,"org_id":`, (*string)(&e.Org)) &&
		s.Member(`,"keyspace":`, &e.Keyspace) &&
		s.OptionalMember(`,"environment":`, &e.Environment) &&
		s.Member(`,"name":`, &e.Name) &&
		s.OptionalMember(`,"owner":`, &e.Owner) &&
		(!s.Literal(`,"scopes":`) || s.Strings(&e.Scopes)) &&
		(!s.Literal(`,"expires_at":`) || scanTime(s, &e.ExpiresAt)) &&
		(!s.Literal(`,"rate_limits":`) || scanRateLimits(s, &e.RateLimits)) &&
		(!s.Literal(`,"allowed_cidrs":`) || s.Strings(&e.AllowedCIDRs)) &&
		(!s.Literal(`,"metadata":`) || scanMetadata(s, &e.Metadata)) &&
		s.Member(`,"prefix":`, &e.Prefix)
	if !ok {
		return false
	}
	e.Imported = s.Literal(`,"imported":true`)
	e.Root = s.Literal(`,"root":true`)
	return s.Literal(`,"at":`) && scanTime(s, &e.At) && s.Member(`,"by":`, &e.By) && s.Literal("}")
}

// scanTime reads what time.Time.UnmarshalJSON reads: both are the same strict parser.
func scanTime(s *fastjson.Scanner, t *time.Time) bool {
	var v string
	return s.String(&v) && t.UnmarshalText([]byte(v)) == nil
}

func scanRateLimits(s *fastjson.Scanner, limits *[]domain.RateLimit) bool {
	*limits = []domain.RateLimit{}
	return s.Array(func() bool {
		var l domain.RateLimit
		var window string
		ok := s.Literal(`{"limit":`) && s.Int(&l.Limit) && s.Member(`,"window":`, &window) && s.Literal("}") &&
			l.Window.UnmarshalText([]byte(window)) == nil
		*limits = append(*limits, l)
		return ok
	})
}

func scanMetadata(s *fastjson.Scanner, m *map[string]string) bool {
	*m = make(map[string]string)
	return s.Object(func(name string) bool {
		var value string
		ok := s.String(&value)
		(*m)[name] = value
		return ok
	})
}
