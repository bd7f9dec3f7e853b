package domain

import "strings"

// A scope is a permission, resource:action. A held scope may be a wildcard: resource:*
// covers every action on the resource, * covers everything.

// RevealScope lets a management key see secrets again. No wildcard gives it: a key that is to have it
// lists it, so that it is seen which keys have. A wildcard is enough to grant it.
const RevealScope = "keys:reveal"

// UsersWriteScope lets one create users and change them.
const UsersWriteScope = "users:write"

const maxScopeLength = 100

// ValidScope reports whether s is resource:action, resource:* or *.
func ValidScope(s string) bool {
	if s == "*" {
		return true
	}
	resource, action, ok := strings.Cut(s, ":")
	return ok && len(s) <= maxScopeLength && scopeWord(resource) && (action == "*" || scopeWord(action))
}

func scopeWord(s string) bool {
	for i := range len(s) {
		if c := s[i]; !alphanumeric(c) && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return s != ""
}

// covers reports whether holding the scopes held includes want. A wanted wildcard needs a
// held wildcard at least as wide.
func covers(held []string, want string) bool {
	for _, h := range held {
		if h == want || h == "*" {
			return true
		}
		if r, ok := strings.CutSuffix(h, "*"); ok && strings.HasPrefix(want, r) {
			return true
		}
	}
	return false
}

// coversAll reports whether held includes each of want.
func coversAll(held, want []string) bool {
	for _, w := range want {
		if !covers(held, w) {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}
