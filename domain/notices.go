package domain

import "time"

const day = 24 * time.Hour

// KeyExpiring is a notice that the key is about to expire: one for each expiry that it has.
type KeyExpiring struct {
	Prefix    string    `json:"prefix"`
	ExpiresAt time.Time `json:"expires_at"`
	Header
}

// KeyIdle is a notice that the key was not used for long: since it was used last or, without a
// LastUsedAt, since it was created.
type KeyIdle struct {
	Prefix     string    `json:"prefix"`
	LastUsedAt time.Time `json:"last_used_at,omitzero"`
	Since      time.Time `json:"since"`
	Header
}

// NoteExpiring decides whether a notice is due that the key expires soon. Each expiry has one,
// however the clock moves.
func (n Notices) NoteExpiring(k Key, at time.Time) (Event, error) {
	notice := k.ExpiresAt.Add(-time.Duration(n.ExpiringDays) * day)
	if n.ExpiringDays == 0 || !k.good(at) || k.ExpiresAt.IsZero() || at.Before(notice) || k.NotedExpiry.Equal(k.ExpiresAt) {
		return nil, nil
	}
	return KeyExpiring{Prefix: k.prefix(), ExpiresAt: k.ExpiresAt, Header: Header{At: at}}, nil
}

// NoteIdle decides whether a notice is due that the key is not used; lastUsed is zero for never.
// Each use begins a new time for which there is one, however the clock moves.
func (n Notices) NoteIdle(k Key, lastUsed, at time.Time) (Event, error) {
	since := k.CreatedAt
	if lastUsed.After(since) {
		since = lastUsed
	}
	if n.IdleDays == 0 || !k.good(at) || at.Before(since.Add(time.Duration(n.IdleDays)*day)) || !since.After(k.NotedIdle) {
		return nil, nil
	}
	return KeyIdle{Prefix: k.prefix(), LastUsedAt: lastUsed, Since: since, Header: Header{At: at}}, nil
}

// good reports whether the key could be used.
func (k Key) good(at time.Time) bool { return k.StateAt(at) == Active }
