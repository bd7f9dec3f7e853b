package api

import (
	"io"
	"net/netip"
	"strings"

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
	Resource string   `json:"resource,omitempty" maxLength:"512" doc:"What it was presented for, like GET /v1/orders without a query: so it is on the trail."`
	Cost     *int64   `json:"cost,omitempty" nullable:"false" minimum:"1" maximum:"1000000" doc:"How many uses it counts as in rate limits. Default: 1."`
	Org      string   `json:"org_id,omitempty" doc:"The organization of the resource, which must be the key's."`
}

// verifyTexts are what a body has that is still to be checked.
type verifyTexts struct{ ip, org string }

// parseVerify reads a body: by scanning if it is plain, else with encoding/json.
func (s *server) parseVerify(body []byte, r *verify.Request) error {
	texts, ok := scanVerify(string(body), r)
	if !ok {
		*r = verify.Request{Scopes: r.Scopes[:0]}
		var err error
		if texts, err = decodeVerify(body, r); err != nil {
			return err
		}
	}
	return s.checkVerify(r, texts)
}

// scanVerify is decodeVerify without its cost, for a body whose strings have no escapes and
// whose members are known and come once. It does not take any other.
func scanVerify(body string, r *verify.Request) (texts verifyTexts, ok bool) {
	s := fastjson.NewScanner(body)
	var seen struct{ key, scopes, ip, keyspace, audience, resource, cost, org bool }
	ok = s.Object(func(name string) bool {
		switch name {
		case "key":
			return once(&seen.key) && s.String(&r.Secret)
		case "scopes":
			return once(&seen.scopes) && s.Strings(&r.Scopes)
		case "ip":
			return once(&seen.ip) && s.String(&texts.ip)
		case "keyspace":
			return once(&seen.keyspace) && s.String(&r.Keyspace)
		case "audience":
			return once(&seen.audience) && s.String(&r.Audience)
		case "resource":
			return once(&seen.resource) && s.String(&r.Resource)
		case "cost":
			return once(&seen.cost) && s.Int(&r.Cost) && r.Cost > 0
		case "org_id":
			return once(&seen.org) && s.String(&texts.org)
		}
		return false
	})
	return texts, ok && seen.key && s.End()
}

// once notes that a member was seen, and reports whether it was the first time.
func once(seen *bool) bool {
	first := !*seen
	*seen = true
	return first
}

func decodeVerify(body []byte, r *verify.Request) (texts verifyTexts, err error) {
	b, err := decodeStrict[verifyBody](body, "body")
	if err != nil {
		return texts, err
	}
	return b.read(r)
}

// read puts what b says into r.
func (b *verifyBody) read(r *verify.Request) (texts verifyTexts, err error) {
	if b.Key == nil {
		return texts, domain.InvalidField("key", "is required: the presented key, as a string")
	}
	r.Secret, r.Scopes, r.Keyspace, r.Audience, r.Resource = *b.Key, b.Scopes, b.Keyspace, b.Audience, b.Resource
	if b.Cost != nil {
		r.Cost = *b.Cost
		if r.Cost < 1 {
			return texts, errCost
		}
	}
	return verifyTexts{b.IP, b.Org}, nil
}

var errCost = domain.InvalidField("cost", "must be a whole number from 1 to %d", domain.MaxCost)

// checkVerify holds what both readers leave open.
func (s *server) checkVerify(r *verify.Request, texts verifyTexts) error {
	if len(r.Scopes) > 100 {
		return domain.InvalidField("scopes", "must have at most 100 entries")
	}
	for _, s := range r.Scopes {
		if !domain.ValidScope(s) {
			return domain.InvalidField("scopes", "must be like resource:action")
		}
	}
	if texts.ip != "" {
		addr, err := netip.ParseAddr(texts.ip)
		if err != nil || addr.Zone() != "" {
			return domain.InvalidField("ip", "must be an IPv4 or IPv6 address")
		}
		r.IP = addr.Unmap()
	}
	if texts.org != "" {
		org, err := domain.ParseOrgID(texts.org)
		if err != nil {
			return err
		}
		r.ResourceOrg = org
	}
	if r.Resource != "" {
		if !validResource(r.Resource) {
			return domain.InvalidField("resource", "must be at most %d printable ASCII characters", maxResource)
		}
		path, _, _ := strings.Cut(r.Resource, "?")
		path = withoutSecret(path, r.Secret)
		r.Resource = path[:min(len(path), maxResource)]
	}
	if r.Cost > domain.MaxCost {
		return errCost
	}
	if r.Keyspace != "" {
		if _, err := s.Store.Keyspaces().Named(r.Keyspace); err != nil {
			return err
		}
	}
	return nil
}

// validResource reports whether a text can name a resource on the trail.
func validResource(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= maxResource
}
