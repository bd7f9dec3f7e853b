package fastjson

import (
	"encoding/json"
	"strconv"
)

// appendString appends s as a JSON string. Text that needs escapes is rare and left to
// encoding/json.
func appendString(b []byte, s string) []byte {
	if plain(s) < len(s) {
		quoted, _ := json.Marshal(s)
		return append(b, quoted...)
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// AppendStrings appends an array of strings.
func AppendStrings(b []byte, values []string) []byte {
	b = append(b, '[')
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, v)
	}
	return append(b, ']')
}

// AppendInts appends an array of integers.
func AppendInts(b []byte, values []int64) []byte {
	b = append(b, '[')
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, v, 10)
	}
	return append(b, ']')
}

// AppendMember appends a string member; name is with its punctuation, as in `,"code":`.
func AppendMember(b []byte, name, value string) []byte {
	return appendString(append(b, name...), value)
}

// AppendOptionalMember appends a string member unless it is empty.
func AppendOptionalMember(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return AppendMember(b, name, value)
}

// AppendIntMember appends an integer member.
func AppendIntMember(b []byte, name string, value int64) []byte {
	return strconv.AppendInt(append(b, name...), value, 10)
}
