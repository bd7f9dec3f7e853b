package eventstore

import (
	"strings"

	"github.com/keytrail/keytrail/domain"
)

// A useScanner reads the exact spelling that appendUse writes, without escapes, several
// times faster than encoding/json: every verification passes here on its way into the
// read model. On any other spelling next is false and done too.
type useScanner struct {
	rest  string // what is left of the message; strings in use point into it
	use   useOnWire
	begun bool
	done  bool // the closing bracket was reached
}

func (s *useScanner) next() bool {
	if !s.begun {
		s.begun = true
		if s.rest == "[]" {
			s.done = true
			return false
		}
		if !s.skip("[") {
			return false
		}
	} else if s.rest == "]" {
		s.done = true
		return false
	} else if !s.skip(",") {
		return false
	}
	s.use = useOnWire{}
	return s.object()
}

func (s *useScanner) object() bool {
	key, ok1 := s.member(`{"key_id":`)
	code, ok2 := s.member(`,"code":`)
	if !ok1 || !ok2 || !s.skip(`,"time":`) {
		return false
	}
	var ok bool
	if s.use.Time, ok = s.number(); !ok {
		return false
	}
	s.use.Key, s.use.Code = domain.KeyID(key), domain.Outcome(code)
	if s.skip(`,"scopes":[`) && !s.scopes() {
		return false
	}
	if !s.optional(`,"ip":`, &s.use.IP) || !s.optional(`,"principal":`, &s.use.Principal) || !s.optional(`,"request_id":`, &s.use.RequestID) {
		return false
	}
	if s.skip(`,"windows":[`) && !s.windows() {
		return false
	}
	return s.skip("}")
}

func (s *useScanner) skip(text string) bool {
	rest, ok := strings.CutPrefix(s.rest, text)
	if ok {
		s.rest = rest
	}
	return ok
}

func (s *useScanner) member(name string) (string, bool) {
	if !s.skip(name) {
		return "", false
	}
	return s.text()
}

func (s *useScanner) optional(name string, value *string) bool {
	if !s.skip(name) {
		return true
	}
	v, ok := s.text()
	*value = v
	return ok
}

// text reads a string without escapes and of ASCII alone, which needs no more checking.
func (s *useScanner) text() (string, bool) {
	if len(s.rest) == 0 || s.rest[0] != '"' {
		return "", false
	}
	for i := 1; i < len(s.rest); i++ {
		switch c := s.rest[i]; {
		case c == '"':
			v := s.rest[1:i]
			s.rest = s.rest[i+1:]
			return v, true
		case c == '\\' || c < ' ' || c >= 0x80:
			return "", false
		}
	}
	return "", false
}

// number reads a plain non-negative integer of at most 18 digits.
func (s *useScanner) number() (n int64, ok bool) {
	i := 0
	for ; i < len(s.rest) && i < 18 && '0' <= s.rest[i] && s.rest[i] <= '9'; i++ {
		n = n*10 + int64(s.rest[i]-'0')
	}
	if i == 0 || i > 1 && s.rest[0] == '0' {
		return 0, false
	}
	s.rest = s.rest[i:]
	return n, true
}

func (s *useScanner) scopes() bool {
	for {
		v, ok := s.text()
		if !ok {
			return false
		}
		s.use.Scopes = append(s.use.Scopes, v)
		if s.skip("]") {
			return true
		}
		if !s.skip(",") {
			return false
		}
	}
}

func (s *useScanner) windows() bool {
	for {
		v, ok := s.number()
		if !ok {
			return false
		}
		s.use.Windows = append(s.use.Windows, v)
		if s.skip("]") {
			return true
		}
		if !s.skip(",") {
			return false
		}
	}
}
