package api

import (
	"io"
	"net/netip"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/fastjson"
	"github.com/keytrail/keytrail/verify"
)

// appendBody appends all of r to b, up to maxVerifyBody.
func appendBody(b []byte, r io.Reader) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case len(b) > maxVerifyBody:
			return b, domain.ErrVerificationTooLarge
		case err == io.EOF:
			return b, nil
		case err != nil:
			return b, domain.ErrBodyUnreadable
		}
	}
}

// verifyBody is the body of a verification.
type verifyBody struct {
	Key      *string  `json:"key" nullable:"false" doc:"The presented key."`
	Scopes   []string `json:"scopes,omitempty" maxItems:"100" doc:"All of them are needed."`
	IP       string   `json:"ip,omitempty" doc:"Of the client that presented it."`
	Keyspace string   `json:"keyspace,omitempty" doc:"Default: any but that of management keys."`
	Audience string   `json:"audience,omitempty" doc:"Whom a derived token must be for; default: anyone. Keys have none."`
}

// parseVerify reads a body: by scanning if it is plain, else with encoding/json.
func (s *server) parseVerify(body []byte, r *verify.Request) error {
	ip, ok := scanVerify(string(body), r)
	if !ok {
		*r = verify.Request{Scopes: r.Scopes[:0]}
		var err error
		if ip, err = decodeVerify(body, r); err != nil {
			return err
		}
	}
	return s.checkVerify(r, ip)
}

// scanVerify is decodeVerify without its cost, for a body whose strings have no escapes and
// whose members are known and come once. It does not take any other.
func scanVerify(body string, r *verify.Request) (ip string, ok bool) {
	s := fastjson.NewScanner(body)
	var seen struct{ key, scopes, ip, keyspace, audience bool }
	ok = s.Object(func(name string) bool {
		switch name {
		case "key":
			return once(&seen.key) && s.String(&r.Secret)
		case "scopes":
			return once(&seen.scopes) && s.Strings(&r.Scopes)
		case "ip":
			return once(&seen.ip) && s.String(&ip)
		case "keyspace":
			return once(&seen.keyspace) && s.String(&r.Keyspace)
		case "audience":
			return once(&seen.audience) && s.String(&r.Audience)
		}
		return false
	})
	return ip, ok && seen.key && s.End()
}

// once notes that a member was seen, and reports whether it was the first time.
func once(seen *bool) bool {
	first := !*seen
	*seen = true
	return first
}

func decodeVerify(body []byte, r *verify.Request) (ip string, err error) {
	b, err := decodeStrict[verifyBody](body, "body")
	if err != nil {
		return "", err
	}
	if b.Key == nil {
		return "", domain.InvalidField("key", "is required: the presented key, as a string")
	}
	r.Secret, r.Scopes, r.Keyspace, r.Audience = *b.Key, b.Scopes, b.Keyspace, b.Audience
	return b.IP, nil
}

// checkVerify holds what both readers leave open.
func (s *server) checkVerify(r *verify.Request, ip string) error {
	if len(r.Scopes) > 100 {
		return domain.InvalidField("scopes", "must have at most 100 entries")
	}
	for _, s := range r.Scopes {
		if !domain.ValidScope(s) {
			return domain.InvalidField("scopes", "must be like resource:action")
		}
	}
	if ip != "" {
		addr, err := netip.ParseAddr(ip)
		if err != nil || addr.Zone() != "" {
			return domain.InvalidField("ip", "must be an IPv4 or IPv6 address")
		}
		r.IP = addr.Unmap()
	}
	if r.Keyspace != "" {
		if _, err := s.Store.Keyspaces().Named(r.Keyspace); err != nil {
			return err
		}
	}
	return nil
}
