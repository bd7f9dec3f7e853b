package api

import (
	"fmt"
	"strings"
	"unicode/utf16"
)

// asciiJSON is JSON whose characters beyond ASCII, which are in strings alone, are escaped.
func asciiJSON(text string) string {
	if printable(text) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case r >= ' ' && r <= '~':
			b.WriteRune(r)
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// printable reports whether s is one line of printable ASCII.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
