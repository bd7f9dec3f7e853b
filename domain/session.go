package domain

import (
	"slices"
	"time"
)

// Sessions are those of one user in one organization.
type Sessions struct{ Live []Session } // oldest first; with some that time has ended

// A Session is what a user has from logging in until they sign out, or its time is over. What it may
// do is what the user's role is at the moment.
type Session struct {
	ID        SessionID     `json:"session_id"`
	User      UserID        `json:"user_id"`
	Org       OrgID         `json:"org_id,omitempty"` // "": none; the user can switch to one
	Method    SessionMethod `json:"method"`
	Issuer    string        `json:"issuer,omitempty"` // of the provider that the user came by; "": none
	IP        string        `json:"ip,omitempty"`
	UserAgent string        `json:"user_agent,omitempty"`
	CreatedAt time.Time     `json:"created_at"`
	ExpiresAt time.Time     `json:"expires_at"`
	Switches  int           `json:"switches,omitempty"` // that led here, in the minute in which it began
}

// A SessionMethod is how a user came to a session.
type SessionMethod string

// The ways to a session. One that was switched to keeps the way of the one before.
const (
	ByPassword SessionMethod = "password"
	BySSO      SessionMethod = "sso"
)

// SessionTTL is how long a session lives.
const SessionTTL = 24 * time.Hour

// SessionCreated began a session.
type SessionCreated struct {
	ID        SessionID     `json:"session_id"`
	User      UserID        `json:"user_id"`
	Org       OrgID         `json:"org_id,omitempty"`
	Method    SessionMethod `json:"method"`
	Issuer    string        `json:"issuer,omitempty"`
	IP        string        `json:"ip,omitempty"`
	UserAgent string        `json:"user_agent,omitempty"`
	ExpiresAt time.Time     `json:"expires_at"`
	Switched  SessionID     `json:"switched_session_id,omitempty"`  // that was switched away from
	Switches  int           `json:"switches,omitempty"`             // one after another, in this minute
	Replaced  []SessionID   `json:"replaced_session_ids,omitempty"` // the oldest, which there is no room for any more
	Header
}

// SessionEnded ended a session.
type SessionEnded struct {
	ID     SessionID        `json:"session_id"`
	User   UserID           `json:"user_id"`
	Reason SessionEndReason `json:"reason"`
	Header
}

// A SessionEndReason is why a session ended. What ends many at once, as a new password does, has
// its own event.
type SessionEndReason string

// The reasons.
const (
	SignedOut       SessionEndReason = "signed_out"
	SessionRevoked  SessionEndReason = "revoked"
	SessionSwitched SessionEndReason = "switched"
)

// maxSessions is how many live sessions a user has in an organization at most.
const maxSessions = 100

// CreateSession asks for a session of a user who was recognised.
type CreateSession struct {
	Principalled
	Session
	Switched SessionID
}

// Create decides on a new session: there always is room, if need be the oldest one's.
func (s Sessions) Create(c CreateSession) (Event, error) {
	live := s.at(c.At)
	if slices.ContainsFunc(live, func(x Session) bool { return x.ID == c.ID }) {
		return nil, nil
	}
	e := SessionCreated{ID: c.ID, User: c.User, Org: c.Org, Method: c.Method, Issuer: c.Issuer, IP: c.IP, UserAgent: c.UserAgent, ExpiresAt: c.ExpiresAt,
		Switched: c.Switched, Switches: c.Switches, Header: c.header()}
	for _, old := range live[:max(len(live)-maxSessions+1, 0)] {
		e.Replaced = append(e.Replaced, old.ID)
	}
	return e, nil
}

// maxSwitches is how many times a user switches in a minute at most. Each is two events that stay, and
// any member may.
const maxSwitches = 30

// Switch counts the switch from s to another session.
func (s Session) Switch(now time.Time) (switches int, err error) {
	if minuteOf(s.CreatedAt) != minuteOf(now) {
		return 1, nil
	}
	if s.Switches >= maxSwitches {
		return 0, ErrTooManySwitches
	}
	return s.Switches + 1, nil
}

// EndSession asks to end a session.
type EndSession struct {
	Principalled
	ID     SessionID
	Reason SessionEndReason
}

// End decides whether the session is there to end. Ending one that has ended is no news.
func (s Sessions) End(c EndSession) (Event, error) {
	i := slices.IndexFunc(s.Live, func(x Session) bool { return x.ID == c.ID })
	if i < 0 {
		return nil, nil
	}
	return SessionEnded{ID: c.ID, User: s.Live[i].User, Reason: c.Reason, Header: c.header()}, nil
}

// at are the sessions that are not over at a moment.
func (s *Sessions) at(now time.Time) []Session {
	return slices.DeleteFunc(slices.Clone(s.Live), func(x Session) bool { return !now.Before(x.ExpiresAt) })
}

// Apply moves s past e. It cannot fail and must not judge: e already happened.
func (s *Sessions) Apply(e Event) {
	switch e := e.(type) {
	case SessionCreated:
		s.Live = slices.DeleteFunc(s.at(e.At), func(x Session) bool { return slices.Contains(e.Replaced, x.ID) })
		s.Live = append(s.Live, Session{ID: e.ID, User: e.User, Org: e.Org, Method: e.Method, Issuer: e.Issuer, IP: e.IP, UserAgent: e.UserAgent, CreatedAt: e.At, ExpiresAt: e.ExpiresAt, Switches: e.Switches})
	case SessionEnded:
		s.Live = slices.DeleteFunc(slices.Clone(s.Live), func(x Session) bool { return x.ID == e.ID })
	}
}
