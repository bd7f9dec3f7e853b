// Package fastjson reads and writes JSON on the hot paths, where encoding/json would take
// most of the time: replays, and the bodies and answers of verifications.
//
// It reads a part of JSON alone: strings without escapes and plain non-negative integers. A
// Scanner's method returns false where the text is not in that part; the caller then gives
// the whole text to encoding/json. What both read has the same values in both.
package fastjson

import (
	"strings"
	"unicode/utf8"
)

// A Scanner reads JSON from front to back. Skip, Member, String and Int take no white space:
// they are for texts in this program's own spelling, with the members in order. Object, Array
// and End take it. After a false nothing is known of the rest and of what was read.
type Scanner struct {
	text string // strings that are read point into it
	next int    // the first byte that is not read yet
}

// NewScanner begins with text.
func NewScanner(text string) Scanner { return Scanner{text: text} }

// Literal reads text as it stands.
func (s *Scanner) Literal(text string) bool {
	ok := strings.HasPrefix(s.text[s.next:], text)
	if ok {
		s.next += len(text)
	}
	return ok
}

// Member reads a string member; name is with its punctuation, as in `,"code":`.
func (s *Scanner) Member(name string, value *string) bool {
	return s.Literal(name) && s.String(value)
}

// OptionalMember is Member for one that may be missing.
func (s *Scanner) OptionalMember(name string, value *string) bool {
	return !s.Literal(name) || s.String(value)
}

// String reads a string without escapes.
func (s *Scanner) String(value *string) bool {
	rest := s.text[s.next:]
	if len(rest) == 0 || rest[0] != '"' {
		return false
	}
	rest = rest[1:]
	end := strings.IndexByte(rest, '"')
	if end < 0 || plain(rest[:end]) < end && !unescaped(rest[:end]) {
		return false
	}
	*value = rest[:end]
	s.next += end + len(`""`)
	return true
}

// unescaped reports whether v, which holds no quote, is the content of a JSON string as it
// stands: valid UTF-8 without control characters and backslashes.
func unescaped(v string) bool {
	for i := range len(v) {
		if v[i] < ' ' || v[i] == '\\' {
			return false
		}
	}
	return utf8.ValidString(v)
}

// plain is the length of a prefix of v that is ASCII without control characters, quotes and
// backslashes: all of v if it has none of those. It looks at eight bytes at a time, which is
// several times faster than at each.
func plain(v string) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(v); i += 8 {
		x := uint64(v[i]) | uint64(v[i+1])<<8 | uint64(v[i+2])<<16 | uint64(v[i+3])<<24 |
			uint64(v[i+4])<<32 | uint64(v[i+5])<<40 | uint64(v[i+6])<<48 | uint64(v[i+7])<<56
		quote, backslash := x^ones*'"', x^ones*'\\'
		if (x|(x-ones*' ')|((quote-ones)&^quote)|((backslash-ones)&^backslash))&highs != 0 {
			return i
		}
	}
	for i < len(v) && isPlain[v[i]] {
		i++
	}
	return i
}

// isPlain has the characters that plain takes.
var isPlain = func() (is [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		is[c] = c != '"' && c != '\\'
	}
	return is
}()

// Int reads a plain non-negative integer of at most 18 digits.
func (s *Scanner) Int(value *int64) bool {
	var n int64
	rest := s.text[s.next:]
	i := 0
	for ; i < len(rest) && i < 18 && '0' <= rest[i] && rest[i] <= '9'; i++ {
		n = n*10 + int64(rest[i]-'0')
	}
	if i == 0 || i > 1 && rest[0] == '0' {
		return false
	}
	*value = n
	s.next += i
	return true
}

// Object reads an object in any spelling: member is called with each name and reads its value.
// A name that comes twice is the caller's to refuse.
func (s *Scanner) Object(member func(name string) bool) bool {
	if !s.token('{') {
		return false
	}
	if s.token('}') {
		return true
	}
	for {
		var name string
		s.space()
		if !s.String(&name) || !s.token(':') {
			return false
		}
		s.space()
		if !member(name) {
			return false
		}
		if !s.token(',') {
			return s.token('}')
		}
	}
}

// Array reads an array in any spelling: element reads each value.
func (s *Scanner) Array(element func() bool) bool {
	if !s.token('[') {
		return false
	}
	if s.token(']') {
		return true
	}
	for {
		s.space()
		if !element() {
			return false
		}
		if !s.token(',') {
			return s.token(']')
		}
	}
}

// Strings reads an array of strings into values, whose memory it uses again. As with
// encoding/json an empty array is not nil.
func (s *Scanner) Strings(values *[]string) bool {
	*values = (*values)[:0]
	if *values == nil {
		*values = []string{}
	}
	return s.Array(func() bool {
		*values = append(*values, "")
		return s.String(&(*values)[len(*values)-1])
	})
}

// Ints is Strings for integers.
func (s *Scanner) Ints(values *[]int64) bool {
	*values = (*values)[:0]
	if *values == nil {
		*values = []int64{}
	}
	return s.Array(func() bool {
		*values = append(*values, 0)
		return s.Int(&(*values)[len(*values)-1])
	})
}

// End reports whether nothing but white space is left.
func (s *Scanner) End() bool {
	s.space()
	return s.next == len(s.text)
}

// token reads one character of punctuation, and white space before it.
func (s *Scanner) token(c byte) bool {
	s.space()
	ok := s.next < len(s.text) && s.text[s.next] == c
	if ok {
		s.next++
	}
	return ok
}

func (s *Scanner) space() {
	for s.next < len(s.text) && s.text[s.next] <= ' ' && isSpace[s.text[s.next]] {
		s.next++
	}
}

var isSpace = [' ' + 1]bool{' ': true, '\n': true, '\t': true, '\r': true}
