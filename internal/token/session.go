package token

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"sync"
)

// SessionClaims are what a session's token says. Times are seconds since the Unix epoch. What the
// session may do is not among them: it can change while the token lives.
type SessionClaims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"` // the user's id
	ID       string `json:"jti"` // the session's
	Org      string `json:"org,omitempty"`
	Email    string `json:"email,omitempty"`
	Position uint64 `json:"pos"` // of the ledger, where the session began
	IssuedAt int64  `json:"iat"`
	Expiry   int64  `json:"exp"`
}

// SignSession makes a session's token with the key of a generation.
func (i *Issuer) SignSession(generation int, c SessionClaims) (string, error) {
	k, err := i.sessions.of(generation)
	if err != nil {
		return "", err
	}
	c.Issuer = i.name
	return k.sign(c)
}

// CheckSession reads a session's token that was signed with the key of one of some generations, whatever
// its time, and tells which.
func (i *Issuer) CheckSession(text string, generations []int) (c SessionClaims, generation int, err error) {
	for _, g := range generations {
		k, err := i.sessions.of(g)
		if err != nil {
			return c, 0, err
		}
		if k.header != headerOf(text) {
			continue
		}
		if err := k.check(text, &c); err != nil || c.Expiry <= 0 {
			return SessionClaims{}, 0, ErrNotValid
		}
		return c, g, nil
	}
	return c, 0, ErrNotValid
}

// sessionKeys come in generations, counted from 1. All follow from one secret; which of them sign, and
// which are good, is for others to say.
type sessionKeys struct {
	master [32]byte

	mu    sync.RWMutex
	known map[int]*key // by generation
}

// of is the key of a generation.
func (s *sessionKeys) of(generation int) (*key, error) {
	s.mu.RLock()
	k := s.known[generation]
	s.mu.RUnlock()
	if k != nil {
		return k, nil
	}
	seed, err := hkdf.Key(sha256.New, s.master[:], nil, fmt.Sprintf("ed25519 %d", generation), 32)
	if err != nil {
		return nil, err
	}
	if k, err = newKey([32]byte(seed), sessionType); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[generation] = k
	return k, nil
}
