package domain

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The refusals of the whole service, by kind, which becomes the HTTP status. Codes are part
// of the API: entries are added, and their texts may be improved, but a code is never
// changed. What one code says in several places has several texts.
var (
	// Invalid: the request must be changed.
	ErrBodyUnreadable       = refusal(Invalid, "body_unreadable", "the body did not arrive whole")
	ErrMalformedKey         = refusal(Invalid, "malformed_credentials", "the key is not presented in the one way that is taken here") // to a gateway's client
	ErrAmbiguousCredentials = refusal(Invalid, "ambiguous_credentials", "send one key, in Authorization or in X-API-Key; if in both, the same").In("Authorization")

	ErrSSOState = refusal(Invalid, "state_not_valid", "this log-in was begun in another browser, more than ten minutes ago, or before the organization's single sign-on was changed; begin again")

	// Unauthenticated: the caller is not known. The texts do not tell an unknown key from a
	// revoked one: the holder of a key's text need not be its owner.
	ErrMissingCredentials = refusal(Unauthenticated, "missing_credentials", "send a management key as Authorization: Bearer or X-API-Key, or the token of a session as Bearer")
	ErrMissingKey         = refusal(Unauthenticated, "missing_credentials", "the request carries no key") // to a gateway's client
	ErrInvalidCredentials = refusal(Unauthenticated, "invalid_credentials", "this management key or session is not valid, or not from this address")
	ErrSSOCode            = refusal(Unauthenticated, "code_not_valid", "the code was used, is older than a minute, or is another log-in's; begin again")
	ErrNotGitHub          = refusal(Unauthenticated, "signature_invalid", "the body is not signed by a key of GitHub's secret scanning")
	ErrLogInFailed        = refusal(Unauthenticated, "invalid_credentials", "there is no user with this e-mail address and password")
	ErrInvalidKey         = refusal(Unauthenticated, "invalid_credentials", "the key is not valid") // to a gateway's client

	// Forbidden: the caller's key does not suffice.
	ErrNoDirectory      = refusal(Forbidden, "no_directory", "a directory provisions one organization: take a management key of that organization with the scope scim:write")
	ErrScopeEscalation  = refusal(Forbidden, "scope_escalation", "a management key can be given, or changed by, only scopes that you hold yourself")
	ErrGatewayDemand    = refusal(Forbidden, "gateway_demand", "the keyspace demands this of its gateway, which must be one of the --trusted-proxies")
	ErrNoTokens         = refusal(Forbidden, "no_tokens", "no tokens can be derived from keys of this keyspace")
	ErrRoleEscalation   = refusal(Forbidden, "role_escalation", "a role can be given, taken and changed by those alone who hold all of its scopes themselves")
	ErrWrongPassword    = refusal(Forbidden, "wrong_password", "the present password is another one")
	ErrInvitedAnother   = refusal(Forbidden, "invited_another", "the invitation is for another address; log in as the user who has it")
	ErrPlanForbids      = refusal(Forbidden, "plan_forbids", "the plan of the organization does not allow this; the text says what, and how much it allows")
	ErrInstallationOnly = refusal(Forbidden, "installation_only", "an organization's plan and attributes are changed by keys that serve the whole installation")
	ErrSSORequired      = refusal(Forbidden, "sso_required", "sessions in this organization are of its provider alone: log in by single sign-on")
	ErrSSOUntried       = refusal(Forbidden, "sso_untried", "log in by this provider first: only who is here by it can enforce it, or nobody might be able to log in").In("enforced")
	ErrSSODenied        = refusal(Forbidden, "sso_denied", "the organization's provider did not let you in")
	ErrSSORejected      = refusal(Forbidden, "sso_rejected", "what the organization's provider said of the log-in is not valid; try again, and tell the organization's administrators")
	ErrSSONoRole        = refusal(Forbidden, "sso_no_role", "you are in no group that has a role in this organization; ask its administrators")
	ErrSSOSession       = refusal(Forbidden, "sso_session", "a session of single sign-on may not do this: an organization's provider vouches for you there alone; log in with your password")
	ErrNoSessions       = refusal(Forbidden, "no_sessions", "this service begins no sessions")
	ErrOtherProvider    = refusal(Forbidden, "other_provider", "your session came by a provider that this organization does not trust; log in to it by its own way")
	ErrNoSession        = refusal(Forbidden, "no_session", "this is for the session of a user; a key was presented")
	ErrSessionNeeded    = refusal(Forbidden, "session_needed", "only a person who is logged in may do this; a key may not")
	ErrOutOfReach       = refusal(Forbidden, "organization_out_of_reach", "your key serves another organization")

	// NotFound: it does not exist, or not for the caller.
	ErrKeyNotFound          = refusal(NotFound, "key_not_found", "there is no such key within your reach")
	ErrOrganizationNotFound = refusal(NotFound, "organization_not_found", "there is no such organization within your reach")
	ErrKeyspaceNotFound     = refusal(NotFound, "keyspace_not_found", "there is no such keyspace for products")
	ErrNoKeyspace           = refusal(NotFound, "keyspace_not_found", "there is no such keyspace; GET /v1/keyspaces lists them")
	ErrPlanNotFound         = refusal(NotFound, "plan_not_found", "there is no such plan; GET /v1/plans lists them")
	ErrProjectionNotFound   = refusal(NotFound, "projection_not_found", "there is no such projection; GET /v1/projections lists them")
	ErrTileNotFound         = refusal(NotFound, "tile_not_found", "the log has no such tile, or none of that width yet; see its checkpoint")
	ErrEntriesGone          = refusal(NotFound, "entries_gone", "the uses of these entries have aged out, and their hashes stay")
	ErrNoTrailLog           = refusal(NotFound, "log_not_found", "there are two logs: events and uses")
	ErrNoCheckpoint         = refusal(NotFound, "no_checkpoint", "nothing of this log was signed yet; come again in a moment")
	ErrUserNotFound         = refusal(NotFound, "user_not_found", "there is no such user within your reach")
	ErrMemberNotFound       = refusal(NotFound, "member_not_found", "the user is no member of this organization")
	ErrRoleNotFound         = refusal(NotFound, "role_not_found", "the organization has no such role; define it first, or take owner, admin or member").In("role")
	ErrGroupNotFound        = refusal(NotFound, "group_not_found", "the directory of this organization has no such group")
	ErrInvitationNotFound   = refusal(NotFound, "invitation_not_found", "there is no such invitation, or it is over; ask for a new one")
	ErrResetInvalid         = refusal(NotFound, "reset_not_found", "the link to reset the password is not valid, or was used, or its time is over; ask for a new one")
	ErrSessionNotFound      = refusal(NotFound, "session_not_found", "there is no such session within your reach")
	ErrSSONotFound          = refusal(NotFound, "sso_not_found", "the organization has no single sign-on, or there is no such organization")
	ErrSinkNotFound         = refusal(NotFound, "sink_not_found", "there is no such sink within your reach")
	ErrPositionNotFound     = refusal(NotFound, "position_not_found", "there is no such event or use within your reach")
	ErrUseGone              = refusal(NotFound, "use_gone", "the use has aged out; a proof of it that was fetched before stays good")
	ErrRouteNotFound        = refusal(NotFound, "route_not_found", "there is nothing at this path; /docs lists the routes")

	// Conflict: the state of what the request is about does not allow it.
	ErrKeyRevoked         = refusal(Conflict, "key_revoked", "the key is revoked, which is final; create a new key")
	ErrKeyExpired         = refusal(Conflict, "key_expired", "the key has expired; create a new key")
	ErrNotRecoverable     = refusal(Conflict, "not_recoverable", "the secret of this key cannot be shown again; if its keyspace is recoverable, its next one can: rotate the key")
	ErrKeyExists          = refusal(Conflict, "key_exists", "a key with this digest exists already")
	ErrOneKeyExists       = refusal(Conflict, "key_exists", "the owner has a key, and the keyspace gives each owner one; rotate it to get a new secret")
	ErrKeyLimitReached    = refusal(Conflict, "key_limit_reached", "the owner, or the organization, has as many keys as the keyspace allows; revoke one first")
	ErrOrganizationExists = refusal(Conflict, "organization_exists", "the organization exists already")
	ErrKeyspaceExists     = refusal(Conflict, "keyspace_exists", "the keyspace exists already; update it")
	ErrTooManyKeyspaces   = refusal(Conflict, "too_many_keyspaces", "an installation can have 200 keyspaces; update one that is not in use")
	ErrKeyspaceRetired    = refusal(Conflict, "keyspace_retired", "the keyspace is retired: it has no new keys; reinstate it, or take another one").In("keyspace")
	ErrPlanRetired        = refusal(Conflict, "plan_retired", "the plan is retired: no organization can be given it; take another one, or define it again").In("plan")
	ErrTooManyPlans       = refusal(Conflict, "too_many_plans", "an installation can have 200 plans; update one that is not in use")
	ErrKeyspaceProtected  = refusal(Conflict, "keyspace_protected", "the keyspace of management keys cannot be changed")
	ErrKeyspaceOverlaps   = refusal(Conflict, "keyspace_overlaps", "a text could be a secret of this format and of another keyspace's; take another prefix or length")
	ErrTooManySecrets     = refusal(Conflict, "too_many_secrets", "ten secrets of this key are still valid; wait for an overlap to end, or rotate without one").In("overlap")
	ErrKeyringMismatch    = refusal(Conflict, "keyring_mismatch", "the installation has another keyring")
	ErrRootKeyProtected   = refusal(Conflict, "root_key_protected", "the root key can be rotated, but not revoked, disabled, narrowed or made to expire; "+
		"the operator of the service can replace it with keytrail root-key reset")
	ErrOwnKey             = refusal(Conflict, "own_key", "the key that a bulk revocation is asked with is left out; revoke it by itself")
	ErrTooManyTrailKeys   = refusal(Conflict, "too_many_trail_keys", "three generations of keys sign checkpoints at the moment; wait for an overlap to end")
	ErrTooManySessionKeys = refusal(Conflict, "too_many_session_keys", "ten generations of keys of sessions are good at the moment; wait for an overlap to end, or rotate without one")
	ErrRebuildRunning     = refusal(Conflict, "rebuild_running", "another projection is being rebuilt; wait until that ends, or cancel it")

	ErrUserExists         = refusal(Conflict, "user_exists", "the user exists already")
	ErrUserRemoved        = refusal(Conflict, "user_removed", "the user is disabled or removed")
	ErrEmailTaken         = refusal(Conflict, "email_taken", "another user has this address").In("email")
	ErrLastOwner          = refusal(Conflict, "last_owner", "an organization always keeps an owner; make somebody else an owner first")
	ErrRoleBuiltIn        = refusal(Conflict, "role_built_in", "this role is built in; define one of another name").In("role")
	ErrRoleInUse          = refusal(Conflict, "role_in_use", "members have this role; give them another one first")
	ErrTooManyRoles       = refusal(Conflict, "too_many_roles", "an organization can have 50 roles of its own; remove one first")
	ErrUserNameTaken      = refusal(Conflict, "user_name_taken", "the directory has this user already").In("userName")
	ErrGroupNameTaken     = refusal(Conflict, "group_name_taken", "the directory has a group of this name already").In("displayName")
	ErrGroupMemberUnknown = refusal(Conflict, "group_member_unknown", "one of these is no user of the directory; provision the user first").In("members")
	ErrGroupNotEmpty      = refusal(Conflict, "group_not_empty", "users came into the group meanwhile; remove it again")
	ErrGroupFull          = refusal(Conflict, "group_full", "a group can have 20,000 members")
	ErrDirectoryFull      = refusal(Conflict, "directory_full", "a directory can have 100,000 users and 1,000 groups")
	ErrTooManyInvitations = refusal(Conflict, "too_many_invitations", "an organization can have 1,000 invitations, those that are over included; revoke some first")
	ErrLogInFirst         = refusal(Conflict, "log_in_first", "a user has the invited address; log in as that user, and accept the invitation again")
	ErrTooManyMemberships = refusal(Conflict, "too_many_memberships", "a user can be a member of 1,000 organizations; end a membership first")
	ErrIdentityTaken      = refusal(Conflict, "identity_taken", "another user logs in by this identity; unlink it there first")
	ErrSSOEmailTaken      = refusal(Conflict, "sso_email_taken", "a member of this organization has your e-mail address, and it is not known that it is you: log in with your password, then link your identity")
	ErrIdentityExists     = refusal(Conflict, "identity_exists", "the provider knows the user as another one already")
	ErrTooManyIdentities  = refusal(Conflict, "too_many_identities", "a user can have 50 identities; unlink one first")

	ErrTooManySinks          = refusal(Conflict, "too_many_sinks", "an organization can have 50 sinks; delete one first")
	ErrTooManySinkStreams    = refusal(Conflict, "too_many_sinks", "an organization can have 4 sinks of type stream; delete one first").In("type")
	ErrTooManySinksInAll     = refusal(Conflict, "too_many_sinks", "the installation has 10,000 sinks, which is as many as it can have; delete one first")
	ErrTooManySigningSecrets = refusal(Conflict, "too_many_secrets", "four signing secrets of this sink are still valid; wait for an overlap to end, or rotate without one").In("overlap")
	ErrSinkUnsigned          = refusal(Conflict, "sink_unsigned", "only webhooks have a signing secret; give other credentials anew with an update")
	ErrSinkSealed            = refusal(Conflict, "sink_sealed", "the credentials of this sink were sealed under another keyring; delete it and create another one")
	ErrReplayRunning         = refusal(Conflict, "replay_running", "a replay of this sink is under way; wait until it ends")

	// Stale and Reused: the If-Match names an older revision, or the Idempotency-Key came
	// before with another request.
	ErrRevisionStale       = refusal(Stale, "revision_stale", "it was changed since the revision in If-Match; read it again and repeat")
	ErrIdempotencyMismatch = refusal(Reused, "idempotency_key_reused", "this Idempotency-Key came before with another request; use a new one")

	// TooLarge: the body must be sent in parts, or not at all.
	ErrBodyTooLarge         = refusal(TooLarge, "body_too_large", "a body may have at most 1 MiB")
	ErrVerificationTooLarge = refusal(TooLarge, "body_too_large", "the body of a verification may have at most 16 KiB")
	ErrPasswordTooLarge     = refusal(TooLarge, "body_too_large", "a body with a password may have at most 16 KiB")
	ErrVerifyBatchTooLarge  = refusal(TooLarge, "body_too_large", "a batch of verifications may have at most 100 keys, in all 256 KiB; send it in parts")
	ErrEventTooLarge        = refusal(TooLarge, "event_too_large", "what the change would record has more than 63 KiB; make its texts or lists shorter")
	ErrImportTooLarge       = refusal(TooLarge, "body_too_large", "an import may have at most 10,000 lines of at most 64 KiB, in all 16 MiB; send it in parts, repeating is harmless")

	// Exhausted: the caller asks too often, or for too much at once.
	ErrQuotaExceeded     = refusal(Exhausted, "quota_exceeded", "the uses of this month that the plan allows are used up; wait for the next month, or take another plan")
	ErrRateLimited       = refusal(Exhausted, "rate_limited", "your key's rate limit is used up; wait")
	ErrLogInHeld         = refusal(Exhausted, "too_many_log_ins", "wrong passwords came for this user, or from this address; wait, log in from where you did before, or reset the password")
	ErrTooManyPasswords  = refusal(Exhausted, "too_many_passwords", "too many passwords wait to be checked; try again in a moment").After(10 * time.Second)
	ErrTooManyTokens     = refusal(Exhausted, "too_many_tokens", "60 tokens were derived from the key in this minute; use one of them, or wait").After(time.Minute)
	ErrTooManySwitches   = refusal(Exhausted, "too_many_switches", "you switched between organizations 30 times in this minute; wait").After(time.Minute)
	ErrTooManyResets     = refusal(Exhausted, "too_many_resets", "10 resets of this user's password were asked for in this hour; the token of the last one is good, or wait").After(time.Hour)
	ErrTooManyRequests   = refusal(Exhausted, "too_many_requests", "too many requests at once from this address; try again in a moment")
	ErrTooManyPages      = refusal(Exhausted, "too_many_pages", "this organization reads too many pages of events at once; try again in a moment")
	ErrTooManyReplays    = refusal(Exhausted, "too_many_replays", "this organization replays its events too often at once; wait until a replay ends").After(10 * time.Second)
	ErrTooManySSO        = refusal(Exhausted, "too_many_logins", "the provider of this organization is being waited for by too many; try again in a moment")
	ErrTooManyTests      = refusal(Exhausted, "too_many_tests", "this organization tests too many sinks at once; wait until a test ends")
	ErrTooManyKeyStreams = refusal(Exhausted, "too_many_streams", "this key, or its organization, follows too many event streams at once").After(10 * time.Second)

	// Unavailable: the service cannot at the moment; the same request may succeed later.
	ErrOverloaded        = refusal(Unavailable, "overloaded", "too many requests at once; try again in a moment")
	ErrTooManyStreams    = refusal(Unavailable, "too_many_streams", "too many event streams at once; try again later").After(10 * time.Second)
	ErrStarting          = refusal(Unavailable, "starting", "the service is starting; come again in a moment")
	ErrNotSignedYet      = refusal(Unavailable, "not_signed_yet", "no checkpoint has it yet; ask again in a moment").After(2 * time.Second)
	ErrTimeout           = refusal(Unavailable, "timeout", "it took too long; try again")
	ErrKeyBusy           = refusal(Unavailable, "key_busy", "too many changes at once; repeat the request with the same Idempotency-Key")
	ErrBackupRunning     = refusal(Unavailable, "backup_running", "another back-up is being made; one at a time is enough")
	ErrStorageFull       = refusal(Unavailable, "storage_full", "the service is short of disk space and records nothing; its operator must make room").After(30 * time.Second)
	ErrReadModelBehind   = refusal(Unavailable, "read_model_behind", "the read model has not reached that position yet; a write that was acknowledged stands; ask again in a moment")
	ErrLedgerMismatch    = refusal(Unavailable, "ledger_mismatch", "the ledger is not the one that the service has read; it is read again from its beginning; ask again in a moment")
	ErrLedgerUnavailable = refusal(Unavailable, "ledger_unavailable", "the ledger does not answer; repeat the request with the same Idempotency-Key")
	ErrGitHubKeys        = refusal(Unavailable, "github_keys_unavailable", "the keys of GitHub's secret scanning cannot be read at the moment; send the report again").After(time.Minute)
	ErrSSOUnavailable    = refusal(Unavailable, "sso_unavailable", "the organization's provider does not answer as it should; try again later").After(10 * time.Second)
	ErrNoPublicURL       = refusal(Unavailable, "sso_unconfigured", "this service has no single sign-on: its operator must say at which URL browsers reach it, with --public-url").After(time.Minute)
	ErrSSOSealed         = refusal(Unavailable, "sso_sealed", "the client secret was sealed under another keyring; give it anew").After(time.Minute)
	ErrNoForwarders      = refusal(Unavailable, "sinks_unavailable", "this process runs no sinks")
	ErrLedgerSilent      = refusal(Unavailable, "ledger_unavailable", "nothing was heard from the ledger for a moment, so that what was read of it may be old; ask again")

	// Internal: a fault of the service.
	ErrInternal = refusal(Internal, "internal", "something went wrong here; the log has it under the request id")
)

var refusals []*Error

// refusal adds an entry to the table.
func refusal(kind Kind, code, text string) *Error {
	e := &Error{Kind: kind, Code: code, Text: text}
	refusals = append(refusals, e)
	return e
}

// Refusals are the entries of the table, without the codes that have a text for each case:
// invalid_field, scope_missing and those of NotAllowed.
func Refusals() []*Error { return slices.Clone(refusals) }

// ofAccess are the codes of refusals for a caller's scope or reach.
var ofAccess = []string{ErrScopeEscalation.Code, ErrRoleEscalation.Code, ErrOutOfReach.Code, ErrKeyNotFound.Code, ErrOrganizationNotFound.Code, ErrUserNotFound.Code,
	ErrMemberNotFound.Code, ErrSessionNotFound.Code, ErrSinkNotFound.Code, ErrPositionNotFound.Code, ScopeMissing("").Code}

// OfAccess reports whether the caller lacks a scope, or asks for what may be another
// organization's.
func (e *Error) OfAccess() bool { return slices.Contains(ofAccess, e.Code) }

// In is the refusal of one field or parameter.
func (e Error) In(field string) *Error { e.Field = field; return &e }

// After is the refusal with the time until it is of use to try again.
func (e Error) After(wait time.Duration) *Error { e.Wait = wait; return &e }

// overlapsWith is ErrKeyspaceOverlaps with the name of the other keyspace.
func overlapsWith(keyspace string) *Error {
	e := ErrKeyspaceOverlaps.In("format.prefix")
	e.Text = "a text could be a secret of this format and of the keyspace " + keyspace + "; take another prefix or length"
	return e
}

// InvalidField is the refusal of one field's content; text says what is allowed.
func InvalidField(field, text string, args ...any) *Error {
	if len(args) > 0 {
		text = fmt.Sprintf(text, args...)
	}
	return &Error{Kind: Invalid, Code: "invalid_field", Field: field, Text: text}
}

// LastOwnerOf is ErrLastOwner of a user who is the last owner of an organization.
func LastOwnerOf(org OrgID) *Error {
	e := *ErrLastOwner
	e.Text = "the user is the last owner of " + string(org) + "; make somebody else an owner of it first"
	return &e
}

// EntriesGone is the refusal of entries of a Merkle log that have aged out, up to an index.
func EntriesGone(minimumIndex int64) *Error {
	e := *ErrEntriesGone
	e.Text = fmt.Sprintf("the uses of these entries have aged out, and their hashes stay; the minimum index is %d", minimumIndex)
	return &e
}

// ScopeMissing is the refusal of a caller whose key lacks scope.
func ScopeMissing(scope string) *Error {
	return &Error{Kind: Forbidden, Code: "scope_missing", Text: "your key lacks the scope " + scope}
}

// KeyLimitReached is the refusal of one key more than a quota has places for.
func KeyLimitReached(q QuotaLimit) *Error {
	if q.One {
		return ErrOneKeyExists
	}
	if q.Plan != "" {
		return PlanForbids("the plan %s allows %d keys, and the organization has as many; revoke one that is not needed, or take another plan", q.Plan, q.Limit)
	}
	e := *ErrKeyLimitReached
	e.Text = fmt.Sprintf("the organization has as many keys as keys_per_organization of the keyspace allows, which is %d; revoke one first", q.Limit)
	if q.Owner != nil {
		e.Text = fmt.Sprintf("the owner has as many keys as keys_per_owner of the keyspace allows, which is %d; revoke one first", q.Limit)
	}
	return &e
}

// PlanForbids is ErrPlanForbids with what the plan does not allow, and what to do about it.
func PlanForbids(text string, args ...any) *Error {
	e := *ErrPlanForbids
	e.Text = fmt.Sprintf(text, args...)
	return &e
}

// NotAllowed is the refusal of a use of a gateway's client: its key is valid, but not for
// this, or not from here. The code is the outcome in lower case.
func NotAllowed(o Outcome) *Error {
	return &Error{Kind: Forbidden, Code: strings.ToLower(string(o)), Text: "the key may not do this, or not from here"}
}
