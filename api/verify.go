package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"reflect"
	"sync"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/verify"
)

// maxVerifyBody bounds the body of a verification, in bytes.
const maxVerifyBody = 16 << 10

// A verification is what one request needs; it is used again.
type verification struct {
	body    []byte
	out     []byte
	request verify.Request
	answer  verify.Answer
}

var verifications = sync.Pool{New: func() any {
	return &verification{body: make([]byte, 0, 1024), out: make([]byte, 0, 1024)}
}}

var jsonType = []string{"application/json"}

// verify answers POST /v1/verify. It is on the path of every request that a customer's
// service takes, so it borrows its buffers and reads the usual body by hand.
func (m *middleware) verify(p *passage, r *http.Request, ip netip.Addr) {
	v := verifications.Get().(*verification)
	defer verifications.Put(v)
	if err := m.decide(v, p, r, ip); err != nil {
		m.problem(p, r.WithContext(context.WithValue(r.Context(), requestIDKey, p.id)), err)
		return
	}
	v.out = append(v.answer.AppendJSON(v.out[:0]), '\n')
	p.Header()["Content-Type"] = jsonType
	_, _ = p.Write(v.out) // a caller who has gone needs no answer
}

// decide reads the body before it takes a place in flight: a slow client holds none.
func (m *middleware) decide(v *verification, p *passage, r *http.Request, ip netip.Addr) error {
	secret, err := presented(r.Header)
	if err != nil {
		return err
	}
	if err := m.share(p, ip); err != nil {
		return err
	}
	if v.body, err = readBody(v.body[:0], r.Body); err != nil {
		return err
	}
	if err := p.takePlace(); err != nil {
		return err
	}
	caller, err := m.Verifier.AuthenticateVerifier(r.Context(), verify.AuthRequest{Secret: secret, Scope: "keys:verify", IP: ip, RequestID: p.id})
	if err != nil {
		return err
	}
	if r.URL.RawQuery != "" {
		if err := m.verifyAfter(r); err != nil {
			return err
		}
	}
	v.request = verify.Request{Scopes: v.request.Scopes[:0]}
	if err := parseVerify(v.body, &v.request); err != nil {
		return err
	}
	v.request.By, v.request.RequestID = caller.Principal, p.id
	p.access.principal = caller.ID
	if err := m.Verifier.Verify(r.Context(), &v.request, &v.answer); err != nil {
		return err
	}
	p.access.verified(&v.answer)
	return m.Verifier.Recheck(&caller)
}

// verifyAfter waits for the position that the query names.
func (s *server) verifyAfter(r *http.Request) error {
	query, err := parseQuery(r)
	if err != nil {
		return err
	}
	for name, values := range query {
		if name != "after" {
			return domain.InvalidField(clip(name), "is not a parameter here; after is, and the rest is asked in the body")
		}
		if len(values) > 1 {
			return errRepeated(name)
		}
	}
	after, err := parseAfter(query.Get("after"))
	if err != nil {
		return err
	}
	return s.caughtUp(r.Context(), after)
}

// readBody appends all of r to b, up to maxVerifyBody.
func readBody(b []byte, r io.Reader) ([]byte, error) {
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
}

// parseVerify reads a body: by scanning if it is plain, else with encoding/json.
func parseVerify(body []byte, r *verify.Request) error {
	s := verifyScanner{text: string(body)}
	if !s.object(r) {
		*r = verify.Request{Scopes: r.Scopes[:0]}
		if err := decodeVerify(body, r); err != nil {
			return err
		}
		s.ip = r.RequestID // decodeVerify leaves the address there to be checked
		r.RequestID = ""
	}
	return checkVerify(r, s.ip)
}

func decodeVerify(body []byte, r *verify.Request) error {
	var b verifyBody
	if err := ambiguous(body, typeOf[verifyBody]()); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&b); err != nil {
		return decodeError(err, "body")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return domain.InvalidField("body", "must be one JSON object and nothing after it")
	}
	if b.Key == nil {
		return domain.InvalidField("key", "is required: the presented key, as a string")
	}
	r.Secret, r.Scopes, r.Keyspace, r.RequestID = *b.Key, b.Scopes, b.Keyspace, b.IP
	return nil
}

// checkVerify holds what both readers leave open.
func checkVerify(r *verify.Request, ip string) error {
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
		if _, err := domain.KeyspaceNamed(r.Keyspace); err != nil {
			return err
		}
	}
	return nil
}

func kindName(t reflect.Type) string {
	if t == reflect.TypeFor[time.Time]() || t == reflect.TypeFor[domain.Duration]() {
		return "a string"
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Slice:
		return "a list"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	}
	return "an object"
}

// A verifyScanner reads a JSON object whose strings are ASCII without escapes, whose
// members are known and come once. What else there is, encoding/json judges.
type verifyScanner struct {
	text string
	i    int
	ip   string
	seen [4]bool
}

func (s *verifyScanner) object(r *verify.Request) bool {
	if !s.take('{') {
		return false
	}
	for {
		name, ok := s.str()
		if !ok || !s.take(':') || !s.member(name, r) {
			return false
		}
		if s.take(',') {
			continue
		}
		if !s.take('}') {
			return false
		}
		s.space()
		return s.i == len(s.text) && s.seen[0]
	}
}

func (s *verifyScanner) member(name string, r *verify.Request) bool {
	switch name {
	case "key":
		return s.once(0) && s.into(&r.Secret)
	case "scopes":
		return s.once(1) && s.scopes(r)
	case "ip":
		return s.once(2) && s.into(&s.ip)
	case "keyspace":
		return s.once(3) && s.into(&r.Keyspace)
	}
	return false
}

func (s *verifyScanner) once(i int) bool {
	again := s.seen[i]
	s.seen[i] = true
	return !again
}

func (s *verifyScanner) into(field *string) bool {
	v, ok := s.str()
	*field = v
	return ok
}

func (s *verifyScanner) scopes(r *verify.Request) bool {
	if !s.take('[') {
		return false
	}
	if s.take(']') {
		return true
	}
	for {
		v, ok := s.str()
		if !ok {
			return false
		}
		r.Scopes = append(r.Scopes, v)
		if s.take(']') {
			return true
		}
		if !s.take(',') {
			return false
		}
	}
}

func (s *verifyScanner) space() {
	for s.i < len(s.text) && (s.text[s.i] == ' ' || s.text[s.i] == '\n' || s.text[s.i] == '\t' || s.text[s.i] == '\r') {
		s.i++
	}
}

func (s *verifyScanner) take(c byte) bool {
	s.space()
	if s.i < len(s.text) && s.text[s.i] == c {
		s.i++
		return true
	}
	return false
}

func (s *verifyScanner) str() (string, bool) {
	if !s.take('"') {
		return "", false
	}
	for start := s.i; s.i < len(s.text); s.i++ {
		switch c := s.text[s.i]; {
		case c == '"':
			s.i++
			return s.text[start : s.i-1], true
		case c == '\\' || c < ' ' || c >= 0x80:
			return "", false
		}
	}
	return "", false
}
