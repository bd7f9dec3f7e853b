package domain

// A Principal is the actor of a command or a question: a management key, a user's session, or the
// system itself.
type Principal struct {
	ID      string // the key's or the user's id, or "system"
	Org     OrgID  // the organization that it serves; Installation: every one; "": none
	Scopes  []string
	User    UserID    // whose session it is; "": it is none
	Session SessionID // that; "": it is none
	Role    string    // of the user in Org; "": it is no session, or in no organization
	Issuer  string    // of the provider by which the user came to the session; "": by none
}

// System acts for the service itself: the first root key, the expiry pass.
var System = Principal{ID: "system", Org: Installation, Scopes: []string{"*"}}

// Authenticator asks for the management keys that are presented to the service itself.
var Authenticator = Principal{ID: "authentication", Org: Installation}

func (p Principal) isSystem() bool { return p.ID == System.ID && p.Org == Installation }

// Reach is what p may see and change.
func (p Principal) Reach() Reach {
	if p.Org == Installation {
		return All
	}
	return Only(p.Org)
}

// Reaches reports whether p may see and change what belongs to org.
func (p Principal) Reaches(org OrgID) bool { return p.Reach().Includes(org) }

// IsOneself reports whether p acts for a user wherever they are: by a session that the user came to by
// themselves. One by an organization's provider is good for what is of that organization alone: the
// provider says who its people are, and could say of anyone there that it is this user.
func (p Principal) IsOneself(user UserID) bool {
	return p.User == user && p.User != "" && p.Issuer == ""
}

// Demand refuses a principal that lacks a scope.
func (p Principal) Demand(scope string) error {
	if !covers(p.Scopes, scope) {
		return ScopeMissing(scope)
	}
	return nil
}

// mayGrant refuses to let p hand out, or change a key that holds, management scopes
// which p lacks. Keys of other keyspaces carry the products' scopes: nothing to guard.
func (p Principal) mayGrant(keyspace string, scopes []string) error {
	if keyspace == ManagementKeyspace && !coversAll(p.Scopes, scopes) {
		return ErrScopeEscalation
	}
	return nil
}
