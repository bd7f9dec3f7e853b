package commands

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/token"
)

// BeginSession begins a session of a user who was recognised. Each one is another session: a repeated
// log-in has two.
type BeginSession struct {
	User        domain.User  // as it was when it was recognised
	Org         domain.OrgID // "": none
	Method      domain.SessionMethod
	Issuer      string // of the provider that the user came by; "": none
	Client      string // of that provider, for which it was
	IP          string
	UserAgent   string
	Correlation string

	once      string           // names what gives one session, like a code; "": nothing does
	expiresAt time.Time        // zero: after domain.SessionTTL
	switched  domain.SessionID // that was switched away from
	switches  int
}

// A BegunSession is a session, and the token that its user has of it.
type BegunSession struct {
	domain.Session
	Token    domain.Secret
	Position eventstore.Position
}

// BeginSession carries out c:
//
//  1. The event is on the ledger before there is a token. A crash after it leaves a session that no
//     user knows of.
//  2. The user is looked at again: a session that began while the password changed, or the user was
//     disabled, came by what is no longer good, and ends. So does one by a provider, or a client of
//     it, that the organization has no more.
//  3. The token is signed.
func (h *Handler) BeginSession(ctx context.Context, c BeginSession) (s BegunSession, err error) {
	if h.tokens == nil {
		return s, domain.ErrNoSessions
	}
	now := h.now()
	r := Request{By: domain.Principal{ID: string(c.User.ID), Org: c.Org, User: c.User.ID}, CommandID: uuid.NewString(), Correlation: c.Correlation}
	s.Session = domain.Session{ID: domain.NewSessionID(r.CommandID), User: c.User.ID, Org: c.Org, Method: c.Method, Issuer: c.Issuer, IP: c.IP, UserAgent: shortText(c.UserAgent), CreatedAt: now, ExpiresAt: c.expiresAt, Switches: c.switches}
	if c.once != "" { // its command is found again, and so is a request with a fingerprint
		r.CommandID, r.Fingerprint = c.once, "once"
		s.ID = domain.NewSessionID(r.CommandID)
	}
	if s.ExpiresAt.IsZero() {
		s.ExpiresAt = now.Add(domain.SessionTTL).Truncate(time.Second) // a token has seconds
	}
	o, err := h.onSessions(ctx, c.Org, c.User.ID, r, func(all domain.Sessions) (domain.Event, error) {
		return all.Create(domain.CreateSession{Principalled: domain.Principalled{At: now, By: r.By}, Session: s.Session, Switched: c.switched})
	})
	if err == nil && (o.replayed || !o.changed) {
		err = domain.ErrSSOCode
	}
	if err != nil {
		return s, err
	}
	s.Position = o.position
	if err := h.stillRecognised(ctx, c); err != nil {
		_, endErr := h.EndSession(ctx, EndSession{Request: Request{By: domain.System, Correlation: c.Correlation}, Session: s.Session, Reason: domain.SessionRevoked})
		return BegunSession{}, errors.Join(err, endErr)
	}
	s.Token, err = h.signSession(ctx, c.User, s)
	return s, err
}

// stillRecognised refuses a user of whom, or of whose provider, there is news that ends sessions.
func (h *Handler) stillRecognised(ctx context.Context, c BeginSession) error {
	now, err := h.user(ctx, c.User.ID)
	if err == nil && (now.Status() != domain.ActiveUser || now.Ended.Number != c.User.Ended.Number) {
		err = domain.ErrInvalidCredentials
	}
	if err != nil || c.Issuer == "" {
		return err
	}
	var has domain.SSO
	_, err = h.ledger.Load(ctx, eventstore.SSORef(c.Org), 0, func(r eventstore.Record) { has.Apply(r.Event) })
	if err == nil && (has.Issuer != c.Issuer || has.ClientID != c.Client) {
		err = domain.ErrInvalidCredentials
	}
	return err
}

func (h *Handler) signSession(ctx context.Context, u domain.User, s BegunSession) (domain.Secret, error) {
	var keys domain.SessionKeys
	if _, err := h.ledger.Load(ctx, eventstore.SessionKeysRef(), 0, func(r eventstore.Record) { keys.Apply(r.Event) }); err != nil {
		return domain.Secret{}, err
	}
	text, err := h.tokens.SignSession(keys.Signing(), token.SessionClaims{Subject: string(s.User), ID: string(s.ID), Org: string(s.Org), Email: u.Email, Position: uint64(s.Position),
		IssuedAt: s.CreatedAt.Unix(), Expiry: s.ExpiresAt.Unix()})
	return domain.NewSecret(text), err
}

// maxUserAgent is how many bytes of a client's name are kept.
const maxUserAgent = 200

// shortText is the beginning of a client's text, in characters that cannot break a line of a log.
func shortText(s string) string {
	s = strings.Map(func(r rune) rune {
		if r > '~' || unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), maxUserAgent)]
}
