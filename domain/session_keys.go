package domain

import "time"

// SessionKeys are the generations of the keys that sign the tokens of sessions. The zero value has no
// history: the first generation signs.
type SessionKeys struct {
	// Rotated are the generations since the first rotation, the newest first, without those that had
	// ended before the last one.
	Rotated []KeyGeneration `json:"rotated"`
}

// A KeyGeneration is one of the keys that follow each other for a purpose, counted from 1.
type KeyGeneration struct {
	Generation int       `json:"generation"`
	Until      time.Time `json:"until,omitzero"` // it is good up to then; zero: until the next one comes
}

// Good reports whether the key is good at a time.
func (g KeyGeneration) Good(at time.Time) bool { return g.Until.IsZero() || at.Before(g.Until) }

// SessionKeysRotated says that the tokens of sessions are signed with a new key.
type SessionKeysRotated struct {
	Generation int       `json:"generation"`
	OldUntil   time.Time `json:"old_valid_until"` // tokens that were signed with those before are good at most until then
	Header
}

// RotateSessionKeys asks for a new key. Those before are good for Overlap; without one, every session
// ends.
type RotateSessionKeys struct {
	Overlap time.Duration
	At      time.Time
	By      Principal
}

// Generations are those that have not ended, the newest, which signs, first.
func (k SessionKeys) Generations(at time.Time) (good []int) {
	for _, g := range k.all() {
		if g.Good(at) {
			good = append(good, g.Generation)
		}
	}
	return good
}

func (k SessionKeys) all() []KeyGeneration {
	if len(k.Rotated) == 0 {
		return []KeyGeneration{{Generation: 1}}
	}
	return k.Rotated
}

// Of is a generation of keys, unless it is over since the last rotation.
func (k SessionKeys) Of(generation int) (found KeyGeneration, known bool) {
	for _, g := range k.Rotated {
		if g.Generation == generation {
			return g, true
		}
	}
	return KeyGeneration{Generation: 1}, len(k.Rotated) == 0 && generation == 1
}

// Signing is the generation that signs.
func (k SessionKeys) Signing() int { return k.all()[0].Generation }

// maxSessionKeys bounds the generations that are good at once: a JWK set has all of them.
const maxSessionKeys = 10

// Rotate decides whether a new key may sign.
func (k SessionKeys) Rotate(c RotateSessionKeys) (Event, error) {
	switch {
	case !c.By.Reaches(Installation):
		return nil, ErrOutOfReach
	case c.Overlap > 0 && len(k.Generations(c.At)) >= maxSessionKeys:
		return nil, ErrTooManySessionKeys
	}
	return SessionKeysRotated{Generation: k.Signing() + 1, OldUntil: c.At.Add(c.Overlap), Header: Header{c.At, c.By.ID}}, nil
}

// Apply moves k past e. It cannot fail and must not judge: e already happened.
func (k *SessionKeys) Apply(e Event) {
	rotated, ok := e.(SessionKeysRotated)
	if !ok {
		return
	}
	all := []KeyGeneration{{Generation: rotated.Generation}}
	for _, g := range k.all() {
		if g.Until.IsZero() || g.Until.After(rotated.OldUntil) {
			g.Until = rotated.OldUntil
		}
		if g.Good(rotated.At) {
			all = append(all, g)
		}
	}
	k.Rotated = all
}
