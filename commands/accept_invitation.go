package commands

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// AcceptInvitation makes a user a member who has an invitation's token and its address. A
// person without a session, whose address no user has, becomes a user with it: the token was sent there.
type AcceptInvitation struct {
	Correlation string        `validate:"-"`
	Token       domain.Secret `validate:"-"`
	User        domain.UserID `validate:"-"` // who is logged in; "": there is no session
	Name        string        `json:"name,omitempty" validate:"max=200,text"`
	Password    domain.Secret `validate:"-"` // of the new user; zero: none yet
}

// An AcceptResult is a user who has accepted an invitation.
type AcceptResult struct {
	Org      domain.OrgID
	User     domain.User
	Member   domain.Member
	Position eventstore.Position
}

// AcceptInvitation carries out c. A crash after the user was created leaves one whom a repetition finds
// again: all its ids follow from the token.
func (h *Handler) AcceptInvitation(ctx context.Context, c AcceptInvitation) (AcceptResult, error) {
	if err := valid(c); err != nil {
		return AcceptResult{}, err
	}
	org, id, err := domain.ParseInvitationToken(c.Token)
	if err != nil {
		return AcceptResult{}, err
	}
	u, err := h.accepting(ctx, c, org, id)
	if err != nil {
		return AcceptResult{}, err
	}
	i, err := h.invitation(ctx, org, id)
	if err != nil {
		return AcceptResult{}, err
	}
	r, err := h.onMembers(ctx, org, c.request(u.ID), concerned{users: acceptedBy(u.ID, i), invitation: id}, func(m domain.Members) (domain.Event, error) {
		event, err := c.decide(m, id, u, h)
		if _, joins := event.(domain.MembershipCreated); joins {
			err = h.mayJoin(u.ID)
		}
		return event, err
	})
	if err != nil {
		return AcceptResult{}, err
	}
	member, still := r.Members.People[u.ID]
	if !still { // it was accepted before, and the membership has ended
		return AcceptResult{}, domain.ErrInvitationNotFound
	}
	return AcceptResult{Org: org, User: u, Member: member, Position: r.Position}, nil
}

func (c AcceptInvitation) decide(m domain.Members, id domain.InvitationID, u domain.User, h *Handler) (domain.Event, error) {
	return m.Accept(domain.AcceptInvitation{At: h.now(), ID: id, Digest: c.Token.Digest(), User: u})
}

// acceptedBy are the people whom the decision is about: the user and the inviter.
func acceptedBy(user domain.UserID, i domain.Invitation) []domain.UserID {
	if i.Inviter == "" {
		return []domain.UserID{user}
	}
	return []domain.UserID{user, i.Inviter}
}

// request is the same for the same token and user.
func (c AcceptInvitation) request(by domain.UserID) Request {
	of := func(what string) string {
		sum := sha256.Sum256([]byte(what + "\x00" + c.Token.Reveal()))
		return hex.EncodeToString(sum[:16])
	}
	return Request{By: domain.Principal{ID: string(by), Org: domain.Installation}, Correlation: c.Correlation,
		CommandID: of("accept " + string(by)), Fingerprint: of("accepted")}
}

// accepting is the user who accepts: who is logged in, or a new one.
func (h *Handler) accepting(ctx context.Context, c AcceptInvitation, org domain.OrgID, id domain.InvitationID) (domain.User, error) {
	if c.User != "" {
		return h.user(ctx, c.User)
	}
	request := c.request("")
	user := domain.NewUserID(request.CommandID)
	request.By.ID = string(user)
	if u, _, err := h.loadUser(ctx, user); err != nil || u.ID != "" {
		return u, err // of an earlier try
	}
	i, err := h.invitation(ctx, org, id)
	if err != nil {
		return domain.User{}, err
	}
	m, err := h.members(ctx, org, concerned{users: acceptedBy(user, i), invitation: id})
	if err == nil {
		_, err = c.decide(m, id, domain.User{ID: user, Email: i.Email}, h)
	}
	if err != nil { // before there is a user
		return domain.User{}, err
	}
	created, err := h.CreateUser(ctx, CreateUser{Request: request, Email: i.Email, Name: c.Name, Password: c.Password})
	if errors.Is(err, domain.ErrEmailTaken) {
		err = domain.ErrLogInFirst
	}
	return created.User, err
}

// invitation is one as it is on the ledger; the zero Invitation if it is not, or not any more.
func (h *Handler) invitation(ctx context.Context, org domain.OrgID, id domain.InvitationID) (domain.Invitation, error) {
	m, err := h.members(ctx, org, concerned{invitation: id})
	return m.Invitations[id], err
}
