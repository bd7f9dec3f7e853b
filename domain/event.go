package domain

import (
	"encoding/json"
	"reflect"
	"time"
)

// An Event is a fact that the ledger keeps. The set of its types is closed, see EventTypes.
// Fields are what was known at the time: never a computed view, never a secret. Its JSON is
// public; an event that also has facts which are not is Confidential.
type Event interface {
	// Happened is when it happened.
	Happened() time.Time
	event()
}

// A Header is what every change has. Embedding it makes a type an event.
type Header struct {
	At time.Time `json:"at"`
	By string    `json:"by,omitempty"` // the principal's id, "": the service itself
}

// Happened is when it happened.
func (h Header) Happened() time.Time { return h.At }

func (Header) event() {}

// A Confidential event has facts that commands and projections need and that readers of
// the trail must not see: they would let a reader try guesses at imported secrets offline.
// Its JSON leaves them out.
type Confidential interface {
	Event
	Private() Private
	// WithPrivate is the event with p for its private facts.
	WithPrivate(p Private) Event
}

// Private is what a confidential event keeps out of its JSON.
type Private struct {
	Digest   Digest       `json:"digest,omitzero"`
	Password PasswordHash `json:"password,omitempty"`
	Sealed   []byte       `json:"sealed,omitempty"` // a key's secret, under a data key that is not on the ledger; a sink's credentials; the client secret of single sign-on
}

// An EventType is an entry of the registry of events.
type EventType struct {
	Name string // as it is stored. The Go type may be renamed; this never.
	Zero Event
	Use  bool // it is in the stream of uses, not in that of changes
}

// EventTypes is the registry of events: writing and reading them follows from it. Entries
// are added, never changed and never removed.
var EventTypes = []EventType{
	{Name: "key.created", Zero: KeyCreated{}},
	{Name: "key.updated", Zero: KeyUpdated{}},
	{Name: "key.rotated", Zero: KeyRotated{}},
	{Name: "key.disabled", Zero: KeyDisabled{}},
	{Name: "key.enabled", Zero: KeyEnabled{}},
	{Name: "key.revoked", Zero: KeyRevoked{}},
	{Name: "key.expired", Zero: KeyExpired{}},
	{Name: "key.revealed", Zero: KeyRevealed{}},
	{Name: "token.derived", Zero: TokenDerived{}},
	{Name: "key.expiring", Zero: KeyExpiring{}},
	{Name: "key.idle", Zero: KeyIdle{}},
	{Name: "key.abandoned", Zero: KeyAbandoned{}},
	{Name: "quota.reserved", Zero: QuotaReserved{}},
	{Name: "quota.released", Zero: QuotaReleased{}},
	{Name: "key.leaked", Zero: KeyLeaked{}},
	{Name: "key.used", Zero: KeyUsed{}, Use: true},
	{Name: "credentials.refused", Zero: CredentialsRefused{}, Use: true},
	{Name: "organization.created", Zero: OrganizationCreated{}},
	{Name: "organization.updated", Zero: OrganizationUpdated{}},
	{Name: "organization.suspended", Zero: OrganizationSuspended{}},
	{Name: "organization.resumed", Zero: OrganizationResumed{}},
	{Name: "owner.updated", Zero: OwnerUpdated{}},
	{Name: "keyring.set", Zero: KeyringSet{}},
	{Name: "keyspace.defined", Zero: KeyspaceDefined{}},
	{Name: "keyspace.updated", Zero: KeyspaceUpdated{}},
	{Name: "keyspace.retired", Zero: KeyspaceRetired{}},
	{Name: "keyspace.reinstated", Zero: KeyspaceReinstated{}},
	{Name: "plan.defined", Zero: PlanDefined{}},
	{Name: "plan.updated", Zero: PlanUpdated{}},
	{Name: "plan.retired", Zero: PlanRetired{}},
	{Name: "login.refused", Zero: LogInRefused{}},
	{Name: "trail.begun", Zero: TrailBegun{}},
	{Name: "trail.keys_rotated", Zero: TrailKeysRotated{}},
	{Name: "trail.fork_detected", Zero: TrailForkDetected{}},
	{Name: "session_keys.rotated", Zero: SessionKeysRotated{}},
	{Name: "audit.read", Zero: TrailRead{}},
	{Name: "keys.read", Zero: KeysRead{}},
	{Name: "users.read", Zero: UsersRead{}},
	{Name: "members.read", Zero: MembersRead{}},
	{Name: "sessions.read", Zero: SessionsRead{}},
	{Name: "access.refused", Zero: AccessRefused{}},
	{Name: "sink.created", Zero: SinkCreated{}},
	{Name: "sink.updated", Zero: SinkUpdated{}},
	{Name: "sink.secret_rotated", Zero: SinkSecretRotated{}},
	{Name: "sink.paused", Zero: SinkPaused{}},
	{Name: "sink.resumed", Zero: SinkResumed{}},
	{Name: "sink.replayed", Zero: SinkReplayed{}},
	{Name: "sink.replay_ended", Zero: SinkReplayEnded{}},
	{Name: "sink.gap", Zero: SinkGap{}},
	{Name: "sink.deleted", Zero: SinkDeleted{}},
	{Name: "user.created", Zero: UserCreated{}},
	{Name: "user.updated", Zero: UserUpdated{}},
	{Name: "user.disabled", Zero: UserDisabled{}},
	{Name: "user.enabled", Zero: UserEnabled{}},
	{Name: "user.removed", Zero: UserRemoved{}},
	{Name: "password.changed", Zero: PasswordChanged{}},
	{Name: "password.reset_requested", Zero: PasswordResetRequested{}},
	{Name: "sessions.revoked", Zero: SessionsRevoked{}},
	{Name: "identity.linked", Zero: IdentityLinked{}},
	{Name: "identity.unlinked", Zero: IdentityUnlinked{}},
	{Name: "address.claimed", Zero: AddressClaimed{}},
	{Name: "address.released", Zero: AddressReleased{}},
	{Name: "membership.created", Zero: MembershipCreated{}},
	{Name: "membership.updated", Zero: MembershipUpdated{}},
	{Name: "membership.removed", Zero: MembershipRemoved{}},
	{Name: "role.defined", Zero: RoleDefined{}},
	{Name: "role.removed", Zero: RoleRemoved{}},
	{Name: "invitation.created", Zero: InvitationCreated{}},
	{Name: "invitation.revoked", Zero: InvitationRevoked{}},
	{Name: "invitation.token_rotated", Zero: InvitationTokenRotated{}},
	{Name: "user.address_forgone", Zero: AddressForgone{}},
	{Name: "session.created", Zero: SessionCreated{}},
	{Name: "session.ended", Zero: SessionEnded{}},
	{Name: "directory.updated", Zero: DirectoryUpdated{}},
	{Name: "directory.user_created", Zero: DirectoryUserCreated{}},
	{Name: "directory.user_updated", Zero: DirectoryUserUpdated{}},
	{Name: "directory.user_removed", Zero: DirectoryUserRemoved{}},
	{Name: "directory.group_created", Zero: DirectoryGroupCreated{}},
	{Name: "directory.group_updated", Zero: DirectoryGroupUpdated{}},
	{Name: "directory.group_members_changed", Zero: DirectoryGroupMembersChanged{}},
	{Name: "directory.group_removed", Zero: DirectoryGroupRemoved{}},
	{Name: "sso.configured", Zero: SSOConfigured{}},
	{Name: "sso.updated", Zero: SSOUpdated{}},
	{Name: "sso.removed", Zero: SSORemoved{}},
}

var typeNames = func() map[reflect.Type]string {
	names := map[reflect.Type]string{}
	for _, t := range EventTypes {
		names[reflect.TypeOf(t.Zero)] = t.Name
	}
	return names
}()

// TypeOf is the stored name of e's type, "" if the registry lacks it.
func TypeOf(e Event) string { return typeNames[reflect.TypeOf(e)] }

// Decode makes an event of its public JSON and its private facts.
func (t EventType) Decode(data []byte, private Private) (Event, error) {
	v := reflect.New(reflect.TypeOf(t.Zero))
	if err := json.Unmarshal(data, v.Interface()); err != nil {
		return nil, err
	}
	e := v.Elem().Interface().(Event)
	if c, ok := e.(Confidential); ok {
		return c.WithPrivate(private), nil
	}
	return e, nil
}
