package format

// A meaning is what an event of a type says, in the terms of the formats for SIEMs.
type meaning struct {
	text     string   // in a sentence
	activity activity // of OCSF
	severity severity
}

// An activity is what was done to an entity: the numbers are those of OCSF's class Entity Management
// and, where it has them, API Activity.
type activity int

const (
	create     activity = 1
	read       activity = 2
	update     activity = 3
	remove     activity = 4 // Delete
	enable     activity = 8
	disable    activity = 9
	activate   activity = 10
	deactivate activity = 11
	suspend    activity = 12
	resume     activity = 13
	other      activity = 99
)

// A severity has OCSF's numbers.
type severity int

const (
	informational severity = 1
	low           severity = 2
	high          severity = 4
	critical      severity = 5
)

// The types that are no changes of an entity.
const (
	typeUsed    = "key.used"
	typeRefused = "credentials.refused"
)

// meanings has every type of event.
var meanings = map[string]meaning{
	"key.created":                     {"Key created", create, informational},
	"key.updated":                     {"Key updated", update, informational},
	"key.rotated":                     {"Key rotated", update, informational},
	"key.disabled":                    {"Key disabled", disable, informational},
	"key.enabled":                     {"Key enabled", enable, informational},
	"key.revoked":                     {"Key revoked", remove, informational},
	"key.expired":                     {"Key expired", deactivate, informational},
	"key.revealed":                    {"Key's secret shown again", read, low},
	"key.expiring":                    {"Key about to expire", other, informational},
	"key.idle":                        {"Key not used for long", other, informational},
	"key.abandoned":                   {"Key not created in time", other, informational},
	"key.leaked":                      {"Key's secret found in public", other, high},
	"token.derived":                   {"Token derived from key", other, informational},
	"quota.reserved":                  {"Place in quota taken", update, informational},
	"quota.released":                  {"Places in quota given back", update, informational},
	"organization.created":            {"Organization created", create, informational},
	"organization.updated":            {"Organization updated", update, informational},
	"organization.suspended":          {"Organization suspended", suspend, low},
	"organization.resumed":            {"Organization resumed", resume, informational},
	"owner.updated":                   {"Owner updated", update, informational},
	"keyring.set":                     {"Keyring set", update, low},
	"keyspace.defined":                {"Keyspace defined", create, informational},
	"keyspace.updated":                {"Keyspace updated", update, informational},
	"keyspace.retired":                {"Keyspace retired", deactivate, informational},
	"keyspace.reinstated":             {"Keyspace reinstated", activate, informational},
	"plan.defined":                    {"Plan defined", create, informational},
	"plan.updated":                    {"Plan updated", update, informational},
	"plan.retired":                    {"Plan retired", deactivate, informational},
	"sink.created":                    {"Sink created", create, informational},
	"sink.updated":                    {"Sink updated", update, informational},
	"sink.secret_rotated":             {"Sink's signing secret rotated", update, informational},
	"sink.paused":                     {"Sink paused", suspend, low},
	"sink.resumed":                    {"Sink resumed", resume, informational},
	"sink.replayed":                   {"Sink's replay begun", other, informational},
	"sink.replay_ended":               {"Sink's replay ended", other, informational},
	"sink.gap":                        {"Events lost to a sink", other, high},
	"sink.deleted":                    {"Sink deleted", remove, low},
	"sink.test":                       {"Test of a sink", other, informational}, // never on the ledger
	"user.created":                    {"User created", create, informational},
	"user.updated":                    {"User updated", update, informational},
	"user.disabled":                   {"User disabled", disable, low},
	"user.enabled":                    {"User enabled", enable, informational},
	"user.removed":                    {"User removed", remove, low},
	"password.changed":                {"Password changed", update, informational},
	"password.reset_requested":        {"Reset of password asked for", other, informational},
	"sessions.revoked":                {"All sessions of a user revoked", remove, informational},
	"identity.linked":                 {"Identity of a provider linked to user", update, low},
	"identity.unlinked":               {"Identity of a provider unlinked from user", update, informational},
	"address.claimed":                 {"E-mail address claimed", update, informational},
	"address.released":                {"E-mail address released", update, informational},
	"membership.created":              {"Member added to organization", create, informational},
	"membership.updated":              {"Member's role changed", update, low},
	"membership.removed":              {"Member removed from organization", remove, informational},
	"role.defined":                    {"Role defined", update, low},
	"role.removed":                    {"Role removed", remove, informational},
	"invitation.created":              {"Member invited", create, informational},
	"invitation.token_rotated":        {"Token of an invitation made", update, informational},
	"user.address_forgone":            {"E-mail address not taken in time", update, informational},
	"invitation.revoked":              {"Invitation revoked", remove, informational},
	"session.created":                 {"Session begun", create, informational},
	"session.ended":                   {"Session ended", remove, informational},
	"directory.updated":               {"Roles of a directory's groups changed", update, low},
	"directory.user_created":          {"User provisioned by directory", create, informational},
	"directory.user_updated":          {"User changed by directory", update, informational},
	"directory.user_removed":          {"User deprovisioned by directory", remove, informational},
	"directory.group_created":         {"Group provisioned by directory", create, informational},
	"directory.group_updated":         {"Group changed by directory", update, informational},
	"directory.group_members_changed": {"Group's members changed by directory", update, low},
	"directory.group_removed":         {"Group deprovisioned by directory", remove, informational},
	"session_keys.rotated":            {"Sessions' signing keys rotated", update, informational},
	"login.refused":                   {"Wrong passwords at log-in", other, low},
	"access.refused":                  {"Access refused", other, low},
	"audit.read":                      {"Audit trail read", read, informational},
	"keys.read":                       {"Keys read", read, informational},
	"users.read":                      {"Users read", read, informational},
	"members.read":                    {"Members read", read, informational},
	"sessions.read":                   {"Sessions read", read, informational},
	"sso.configured":                  {"Single sign-on configured", create, low},
	"sso.updated":                     {"Single sign-on updated", update, low},
	"sso.removed":                     {"Single sign-on removed", remove, low},
	"trail.begun":                     {"Merkle logs begun", create, low},
	"trail.keys_rotated":              {"Checkpoints' signing keys rotated", update, informational},
	"trail.fork_detected":             {"Trail differs from what was signed", other, critical},

	typeUsed:    {"Key used", other, informational}, // a refused one is graded by refusal
	typeRefused: {"Unknown credentials refused", other, low},
}
