// Package password is what the service knows of passwords: which ones may be chosen, how they are
// hashed and checked, and at what cost to everything beside.
//
// A password is normalized before it is hashed (OpaqueString of RFC 8265: NFC, one kind of space, no
// control characters), so that two keyboards that compose é differently type the same one. There
// are no rules of composition and none of age, as NIST SP 800-63B asks: a length, and a list.
//
// Hashes are made and compared in a Pool alone, which bounds their memory and their part of the
// processor.
package password

import (
	_ "embed"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
)

// The length of a password in code points, after normalization.
const (
	MinLength = 12
	MaxLength = 1024
)

// maxBytes is what a longest password can have: UTF-8 has at most four bytes a code point. It is
// looked at first, so that no longer text is normalized.
const maxBytes = MaxLength * utf8.UTFMax

// Why a password may not be chosen. The texts are for the person who chose it.
var (
	ErrTooShort   = errors.New("must have at least 12 characters")
	ErrTooLong    = errors.New("must have at most 1024 characters")
	ErrCharacters = errors.New("may have letters, digits, punctuation, symbols and spaces, in UTF-8, and no control characters")
	ErrCommon     = errors.New("is among the first that are guessed: a common password, a pattern, or the name or e-mail address of its user; take several words that have nothing to do with each other")
)

// normalize is text as it is hashed.
func normalize(text string) (string, error) {
	if len(text) > maxBytes {
		return "", ErrTooLong
	}
	if text == "" {
		return "", nil // which precis refuses, and which is too short
	}
	normal, err := precis.OpaqueString.String(text)
	if err != nil || !utf8.ValidString(text) {
		return "", ErrCharacters
	}
	return normal, nil
}

// Check tells why text may not be chosen as the password of a user of whom about says the e-mail
// address and the name; nil: it may.
func Check(text string, about ...string) error {
	normal, err := normalize(text)
	if err != nil {
		return err
	}
	switch n := utf8.RuneCountInString(normal); {
	case n < MinLength:
		return ErrTooShort
	case n > MaxLength:
		return ErrTooLong
	case isGuessable(normal, about):
		return ErrCommon
	}
	return nil
}

// A password must have this much beside what is guessed first: so many characters that belong to no
// common part, and so many different ones.
const (
	minUncommon = 6
	minDistinct = 5
)

// common are the parts of which the commonest passwords of 12 characters and more consist, longest
// first, so that the most of a password is taken for common.
//
//go:embed common.txt
var commonText string

var common = func() []string {
	words := strings.Fields(commonText)
	slices.SortStableFunc(words, func(a, b string) int { return len(b) - len(a) })
	return words
}()

// isGuessable tells whether what is left of a password without its common parts, and those that
// follow from its user, is too little to be one.
func isGuessable(normal string, about []string) bool {
	folded := strings.ToLower(normal)
	if distinct(folded) < minDistinct {
		return true
	}
	parts := partsOf(about)
	return utf8.RuneCountInString(without(without(folded, parts), common)) < minUncommon ||
		utf8.RuneCountInString(without(without(unleet.Replace(folded), parts), common)) < minUncommon
}

// unleet undoes the usual spelling of letters as digits and symbols.
var unleet = strings.NewReplacer("0", "o", "1", "i", "3", "e", "4", "a", "5", "s", "7", "t", "@", "a", "$", "s", "!", "i")

// partsOf are what a password is not to be made of: an address, its parts, and the words of a name.
// Shorter ones than four characters are in many good passwords.
func partsOf(about []string) (parts []string) {
	for _, text := range about {
		text = strings.ToLower(text)
		words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" @._-+", r) })
		for _, part := range append(words, text) {
			if utf8.RuneCountInString(part) >= 4 {
				parts = append(parts, part)
			}
		}
	}
	slices.SortStableFunc(parts, func(a, b string) int { return len(b) - len(a) })
	return parts
}

// without is text without parts, and without the spaces and punctuation between them.
func without(text string, parts []string) string {
	for _, part := range parts {
		text = strings.ReplaceAll(text, part, "")
	}
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(" .,-_!?*#", r) {
			return -1
		}
		return r
	}, text)
}

func distinct(text string) int {
	seen := map[rune]bool{}
	for _, r := range text {
		seen[r] = true
	}
	return len(seen)
}
