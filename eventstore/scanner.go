package eventstore

import (
	"strings"
	"unicode/utf8"
)

// A scanner reads JSON in the one spelling that this package writes it: members in order,
// no white space, no escapes. Every event and every use passes here on its way into the
// read model, and encoding/json would take most of a replay's time. Each method tells
// whether it found what it reads; if one did not, nothing is known of the rest and the
// whole text is left to encoding/json. What the two read from a text is the same.
type scanner struct{ rest string } // strings that are read point into it

func (s *scanner) skip(text string) bool {
	rest, ok := strings.CutPrefix(s.rest, text)
	if ok {
		s.rest = rest
	}
	return ok
}

// member reads a string member; name is with its punctuation, as in `,"code":`.
func (s *scanner) member(name string, value *string) bool {
	return s.skip(name) && s.text(value)
}

// optional is member for one that may be missing.
func (s *scanner) optional(name string, value *string) bool {
	return !s.skip(name) || s.text(value)
}

// text reads a string without escapes.
func (s *scanner) text(value *string) bool {
	if len(s.rest) == 0 || s.rest[0] != '"' {
		return false
	}
	rest := s.rest[1:]
	end := strings.IndexByte(rest, '"')
	if end < 0 || !spelledOut(rest[:end]) {
		return false
	}
	*value, s.rest = rest[:end], rest[end+1:]
	return true
}

// spelledOut tells whether v, which holds no quote, is the content of a JSON string as it
// stands: valid UTF-8 without control characters and backslashes. It looks at eight bytes
// at a time for printable ASCII other than a backslash, and more closely for all else.
func spelledOut(v string) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(v); i += 8 {
		x := uint64(v[i]) | uint64(v[i+1])<<8 | uint64(v[i+2])<<16 | uint64(v[i+3])<<24 |
			uint64(v[i+4])<<32 | uint64(v[i+5])<<40 | uint64(v[i+6])<<48 | uint64(v[i+7])<<56
		backslash := x ^ ones*'\\'
		if (x|(x-ones*' ')|((backslash-ones)&^backslash))&highs != 0 {
			break
		}
	}
	ascii := true
	for ; i < len(v); i++ {
		c := v[i]
		if c < ' ' || c == '\\' {
			return false
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	return ascii || utf8.ValidString(v)
}

// number reads a plain non-negative integer of at most 18 digits.
func (s *scanner) number(value *int64) bool {
	var n int64
	i := 0
	for ; i < len(s.rest) && i < 18 && '0' <= s.rest[i] && s.rest[i] <= '9'; i++ {
		n = n*10 + int64(s.rest[i]-'0')
	}
	if i == 0 || i > 1 && s.rest[0] == '0' {
		return false
	}
	*value, s.rest = n, s.rest[i:]
	return true
}

// list reads the rest of an array whose bracket was read, with item for each element. An
// empty array is not how this package writes one.
func (s *scanner) list(item func() bool) bool {
	for item() {
		if !s.skip(",") {
			return s.skip("]")
		}
	}
	return false
}

func (s *scanner) texts(values *[]string) bool {
	return s.list(func() bool {
		*values = append(*values, "")
		return s.text(&(*values)[len(*values)-1])
	})
}

func (s *scanner) numbers(values *[]int64) bool {
	return s.list(func() bool {
		*values = append(*values, 0)
		return s.number(&(*values)[len(*values)-1])
	})
}

// optionalTexts reads an array that may be missing; name is with the bracket.
func (s *scanner) optionalTexts(name string, values *[]string) bool {
	return !s.skip(name) || s.texts(values)
}
