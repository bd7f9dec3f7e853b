package commands

import (
	"context"
	"net/netip"
	"slices"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/password"
)

// LogIn asks for a session by e-mail address and password.
type LogIn struct {
	Email       string
	Password    domain.Secret
	Org         domain.OrgID // "": the user's first, if they have one
	IP          netip.Addr
	UserAgent   string
	Correlation string
}

// Authenticate finds the user whose e-mail address and password c has, and the organization that a
// session of theirs is to be in. Of an address that no user has, a user without a password or one who
// is disabled, and a wrong password, the answer is the same, the time is the same, and so is the
// back-off.
func (h *Handler) Authenticate(ctx context.Context, c LogIn) (u domain.User, org domain.OrgID, err error) {
	email, err := domain.NormalEmail(c.Email)
	if err != nil {
		return u, "", err
	}
	u, found, err := h.logIns.index.Account(email)
	if err != nil {
		return u, "", err
	}
	account := string(u.ID)
	if !found {
		account = h.logIns.stranger(email)
	}
	if err := h.recognise(ctx, u, account, c); err != nil {
		return domain.User{}, "", err
	}
	org, err = h.organizationFor(u.ID, c.Org)
	return u, org, err
}

// recognise finds out whether the password is the user's. u is the zero User if there is none.
func (h *Handler) recognise(ctx context.Context, u domain.User, account string, c LogIn) error {
	known, err := h.logIns.index.KnownAddresses(u.ID)
	if err != nil {
		return err
	}
	a := domain.LogInAttempt{Account: account, User: u.ID, IP: domain.LogInAddress(c.IP), At: h.now()}
	a.Known = a.IP != "" && slices.Contains(known, a.IP)
	wait, err := h.logIns.enter(a)
	if err != nil {
		return err
	}
	if wait > 0 {
		return domain.ErrLogInHeld.After(wait)
	}
	client := password.Client{Address: c.IP}
	if a.Known {
		client.Class = password.Known
	}
	hash := u.Password
	if u.Status() != domain.ActiveUser {
		hash = "" // takes as long
	}
	matches, err := h.passwords.Matches(ctx, client, string(hash), c.Password.Reveal())
	h.logIns.leave(a, err == nil && !matches)
	switch {
	case err != nil:
		return busyPool(err)
	case matches:
		return nil
	}
	if err := h.noteFailedLogIn(ctx, account, c.Correlation); err != nil {
		return err
	}
	return domain.ErrLogInFailed
}

// organizationFor is the organization of a new session: the one that is asked for, or the first that
// takes sessions by password and is not suspended; "": none.
func (h *Handler) organizationFor(u domain.UserID, asked domain.OrgID) (domain.OrgID, error) {
	all, err := h.logIns.index.OrganizationsOf(u)
	if err != nil {
		return "", err
	}
	if asked != "" {
		switch {
		case !slices.Contains(all, asked):
			return "", domain.ErrOrganizationNotFound
		case !h.logIns.index.Admits(asked, ""):
			return "", domain.ErrSSORequired
		case h.logIns.index.Suspended(asked):
			return "", domain.NotAllowed(domain.UseOrgSuspended)
		}
		return asked, nil
	}
	for _, org := range all {
		if h.logIns.index.Admits(org, "") && !h.logIns.index.Suspended(org) {
			return org, nil
		}
	}
	return "", nil
}

// LogIn carries out c.
func (h *Handler) LogIn(ctx context.Context, c LogIn) (domain.User, BegunSession, error) {
	u, org, err := h.Authenticate(ctx, c)
	if err != nil {
		return domain.User{}, BegunSession{}, err
	}
	s, err := h.BeginSession(ctx, BeginSession{User: u, Org: org, Method: domain.ByPassword, IP: ipText(c.IP), UserAgent: c.UserAgent, Correlation: c.Correlation})
	return u, s, err
}

func ipText(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.Unmap().String()
}
