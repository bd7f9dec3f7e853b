package api

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/projections"
)

// A SessionToken is a session that has begun, with the token that its user has of it.
type SessionToken struct {
	Token     string           `json:"token" doc:"For Authorization: Bearer. It is shown once."`
	ExpiresAt time.Time        `json:"expires_at"`
	Session   domain.SessionID `json:"session_id"`
	User      sessionUser      `json:"user"`
	Org       *domain.OrgID    `json:"org_id" doc:"That it is in; null: none"`
}

type sessionUser struct {
	ID    domain.UserID `json:"id"`
	Email string        `json:"email"`
	Name  string        `json:"name"`
}

type sessionTokenAnswer struct {
	CacheControl string `header:"Cache-Control"`
	Position     uint64 `header:"Keytrail-Position"`
	Body         SessionToken
}

// showBegun shows a session that began once this node takes its token.
func (s *server) showBegun(ctx context.Context, u domain.User, begun commands.BegunSession, err error) (*sessionTokenAnswer, error) {
	if err == nil {
		err = s.waitFor(ctx, begun.Position)
	}
	if err != nil {
		return nil, err
	}
	return &sessionTokenAnswer{"no-store", uint64(begun.Position), SessionToken{begun.Token.Reveal(), begun.ExpiresAt, begun.ID, sessionUser{u.ID, u.Email, u.Name}, orgOrNull(begun.Org)}}, nil
}

func orgOrNull(org domain.OrgID) *domain.OrgID {
	if org == "" {
		return nil
	}
	return &org
}

// A Session is one of a user's.
type Session struct {
	ID        domain.SessionID     `json:"id"`
	User      domain.UserID        `json:"user_id"`
	Org       *domain.OrgID        `json:"org_id" doc:"null: none"`
	Method    domain.SessionMethod `json:"method" doc:"password or sso"`
	Issuer    string               `json:"issuer,omitempty" doc:"Of the provider that the user came by."`
	IP        string               `json:"ip,omitempty"`
	UserAgent string               `json:"user_agent,omitempty"`
	CreatedAt time.Time            `json:"created_at"`
	ExpiresAt time.Time            `json:"expires_at"`
	Current   bool                 `json:"current" doc:"It is the one that asks."`
}

type listSessionsRequest struct {
	User string `query:"user_id" maxLength:"64" doc:"Another user's, within reach; it takes the scope sessions:read. Default: one's own."`
	AfterParam
}

type sessionsAnswer struct {
	Body struct {
		Items []Session `json:"items" doc:"The newest first."`
	}
}

// listSessions lists the caller's own sessions, or those of another user in the organizations that
// the caller reaches.
func (s *server) listSessions(ctx context.Context, p domain.Principal, in *listSessionsRequest) (*sessionsAnswer, error) {
	user, err := sessionsOf(p, in.User)
	if err == nil {
		err = s.waitAfter(ctx, in.AfterParam)
	}
	if err != nil {
		return nil, err
	}
	all, err := s.Store.Sessions(user)
	if err != nil {
		return nil, err
	}
	a := &sessionsAnswer{}
	a.Body.Items = []Session{}
	for _, x := range slices.Backward(all) {
		if s.Now().Before(x.ExpiresAt) && reachesSession(p, x) {
			a.Body.Items = append(a.Body.Items, Session{x.ID, x.User, orgOrNull(x.Org), x.Method, x.Issuer, x.IP, x.UserAgent, x.CreatedAt, x.ExpiresAt, x.ID == p.Session})
		}
	}
	slices.SortStableFunc(a.Body.Items, func(x, y Session) int { return y.CreatedAt.Compare(x.CreatedAt) })
	return a, nil
}

// sessionsOf is the user whose sessions are to be listed: the caller, or, if the caller has the scope,
// another.
func sessionsOf(p domain.Principal, named string) (domain.UserID, error) {
	if named == "" {
		if p.User == "" {
			return "", domain.ErrNoSession
		}
		return p.User, nil
	}
	user, err := domain.ParseUserID(named)
	if err != nil || user == p.User {
		return user, err
	}
	return user, p.Demand("sessions:read")
}

// reachesSession reports whether a session is the principal's own, or of an organization within reach.
// One without an organization is the installation's.
func reachesSession(p domain.Principal, x domain.Session) bool {
	return p.IsOneself(x.User) || p.Reach().All || x.Org != "" && p.Reaches(x.Org)
}

type switchSessionRequest struct {
	WriteHeaders
	Body struct {
		Org string `json:"org_id" maxLength:"64" doc:"Of which the user is a member."`
	}
}

// switchSession gives the caller a session in another organization. The present one ends.
func (s *server) switchSession(ctx context.Context, p domain.Principal, in *switchSessionRequest) (*sessionTokenAnswer, error) {
	org, err := domain.ParseOrgID(in.Body.Org)
	if err == nil {
		err = s.waitForEnd(ctx) // another node may have ended the session, or made the user a member
	}
	if err != nil {
		return nil, err
	}
	u, present, err := s.stillIn(ctx, p)
	if err == nil {
		err = s.mayEnter(present, org)
	}
	if err != nil {
		return nil, err
	}
	begun, err := s.Commands.SwitchSession(ctx, commands.SwitchSession{Request: in.request, User: u.User, Present: present, Org: org, Client: s.Store.SSOClient(present.Org), IP: callerOf(ctx).IP().String()})
	return s.showBegun(ctx, u.User, begun, err)
}

// stillIn is the caller's user, and the session that asks, which was good when the user was as it is
// here, or later.
func (s *server) stillIn(ctx context.Context, p domain.Principal) (u projections.UserRow, present domain.Session, err error) {
	if present, err = s.ownSession(p); err != nil {
		return u, present, err
	}
	if u, err = s.Store.User(p.User); err == nil {
		err = s.recheck(ctx)
	}
	return u, present, err
}

// mayEnter refuses an organization of which the user is no member, as if it did not exist; one that is
// suspended; and one that does not trust the provider by which the user came. Where that user is a
// member besides is nothing for the provider to learn: it is refused before.
func (s *server) mayEnter(x domain.Session, org domain.OrgID) error {
	if x.Issuer != "" && (!s.Store.Admits(org, x.Issuer) || !s.Store.SameProvider(org, x.Org)) {
		return domain.ErrOtherProvider
	}
	if _, err := s.Store.Member(org, x.User); err != nil {
		if errors.Is(err, domain.ErrMemberNotFound) {
			err = domain.ErrOrganizationNotFound
		}
		return err
	}
	if s.Store.Suspended(org) {
		return domain.NotAllowed(domain.UseOrgSuspended)
	}
	if !s.Store.Admits(org, x.Issuer) {
		return domain.ErrSSORequired
	}
	return nil
}

// ownSession is the session that asks.
func (s *server) ownSession(p domain.Principal) (domain.Session, error) {
	if p.Session == "" {
		return domain.Session{}, domain.ErrNoSession
	}
	x, err := s.Store.Session(p.Session)
	if errors.Is(err, domain.ErrSessionNotFound) {
		err = domain.ErrInvalidCredentials // it ended just now
	}
	return x.Session, err
}

type signOutRequest struct{ WriteHeaders }

// signOut ends the session that asks.
func (s *server) signOut(ctx context.Context, p domain.Principal, in *signOutRequest) (*deletedAnswer, error) {
	x, err := s.ownSession(p)
	if err != nil {
		return nil, err
	}
	return s.endSession(ctx, commands.EndSession{Request: in.request, Session: x, Reason: domain.SignedOut})
}

type revokeSessionRequest struct {
	WriteHeaders
	ID string `path:"id" maxLength:"64"`
}

// revokeSession ends a session of the caller's, or another user's within reach.
func (s *server) revokeSession(ctx context.Context, p domain.Principal, in *revokeSessionRequest) (*deletedAnswer, error) {
	id, err := domain.ParseSessionID(in.ID)
	if err != nil {
		return nil, err
	}
	x, err := s.Store.Session(id)
	if errors.Is(err, domain.ErrSessionNotFound) && p.Reach().All {
		if err := s.waitForEnd(ctx); err != nil { // another node may have begun it just now
			return nil, err
		}
		x, err = s.Store.Session(id)
	}
	switch {
	case err != nil:
	case !reachesSession(p, x.Session):
		err = domain.ErrSessionNotFound
	case x.User != p.User:
		err = p.Demand("sessions:write")
	}
	if err != nil {
		return nil, err
	}
	return s.endSession(ctx, commands.EndSession{Request: in.request, Session: x.Session, Reason: domain.SessionRevoked})
}

func (s *server) endSession(ctx context.Context, c commands.EndSession) (*deletedAnswer, error) {
	position, err := s.Commands.EndSession(ctx, c)
	if err == nil {
		err = s.waitFor(ctx, position)
	}
	return &deletedAnswer{uint64(position)}, err
}

type revokeSessionsRequest struct {
	WriteHeaders
	ID string `path:"id" maxLength:"64"`
}

// revokeSessions ends all sessions of a user, but for the one that asks. Those of another user are ended
// by installation-wide callers alone: they are of all organizations. Who came by an organization's
// provider ends their own in that organization.
func (s *server) revokeSessions(ctx context.Context, p domain.Principal, in *revokeSessionsRequest) (*deletedAnswer, error) {
	user, err := domain.ParseUserID(in.ID)
	if err == nil && user != p.User && !p.Reach().All {
		err = domain.ErrUserNotFound
	}
	if err == nil && user != p.User {
		err = p.Demand("sessions:write")
	}
	if err != nil {
		return nil, err
	}
	position, err := s.Commands.RevokeSessions(ctx, commands.RevokeSessions{Request: in.request, User: user, Kept: keptSession(p, user)})
	if err == nil {
		err = s.waitFor(ctx, position)
	}
	return &deletedAnswer{uint64(position)}, err
}

func keptSession(p domain.Principal, user domain.UserID) domain.SessionID {
	if p.User == user {
		return p.Session
	}
	return ""
}

// RotateSessionKeysBody says for how long tokens that were signed before are good.
type RotateSessionKeysBody struct {
	Overlap domain.Duration `json:"overlap" doc:"How long tokens that were signed before are good, like 24h, which is how long any is; 0s ends every session."`
}

// TransformSchema states the bound of the overlap.
func (RotateSessionKeysBody) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return bounded[commands.RotateSessionKeys](r, s)
}

type rotateSessionKeysRequest struct {
	WriteHeaders
	Body RotateSessionKeysBody
}

type sessionKeysAnswer struct {
	Position uint64 `header:"Keytrail-Position"`
	Body     SessionKeys
}

// SessionKeys are the generations of keys that sign the tokens of sessions.
type SessionKeys struct {
	Keys []SessionKey `json:"keys" doc:"Those that are good, the newest, which signs, first."`
}

// A SessionKey is one of them.
type SessionKey struct {
	Generation int        `json:"generation"`
	Until      *time.Time `json:"until" nullable:"true" doc:"Its tokens are good up to then; null: with no end yet."`
}

// rotateSessionKeys makes a new key sign.
func (s *server) rotateSessionKeys(ctx context.Context, _ domain.Principal, in *rotateSessionKeysRequest) (*sessionKeysAnswer, error) {
	result, err := s.Commands.RotateSessionKeys(ctx, commands.RotateSessionKeys{Request: in.request, Overlap: in.Body.Overlap})
	if err == nil {
		err = s.waitFor(ctx, result.Position)
	}
	if err != nil {
		return nil, err
	}
	a := &sessionKeysAnswer{Position: uint64(result.Position)}
	for _, g := range result.Keys.Rotated {
		k := SessionKey{Generation: g.Generation}
		if !g.Until.IsZero() {
			k.Until = &g.Until
		}
		a.Body.Keys = append(a.Body.Keys, k)
	}
	return a, nil
}
