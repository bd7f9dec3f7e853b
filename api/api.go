// Package api is Keytrail over HTTP: it decodes a request, calls one thing and encodes
// what that answers. Management routes are described with Huma, which derives the OpenAPI
// document from them; the routes that verify or stream are written by hand.
package api

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/audit"
	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/githubscan"
	"github.com/keytrail/keytrail/internal/token"
	"github.com/keytrail/keytrail/projections"
	"github.com/keytrail/keytrail/reactions"
	"github.com/keytrail/keytrail/sso"
	"github.com/keytrail/keytrail/verify"
)

// Options are what the API stands on. Zero values of those below Verifier are usable.
type Options struct {
	Commands *commands.Handler
	Store    *projections.Store
	Ledger   *eventstore.Ledger
	Verifier *verify.Verifier
	Tokens   *token.Issuer // nil: there are no derived tokens

	Reactions  *reactions.Engine // nil: there are none
	Forwarders Forwarders        // nil: this process runs no sinks
	Trail      *eventstore.Trail // nil: one of the API alone

	Merkle *audit.Log    // nil: there are no Merkle logs
	Signer *audit.Signer // nil: this process signs none

	SSO *sso.Party // nil: no one can log in by single sign-on

	GitHubKeys *githubscan.Keys // nil: reports of GitHub's secret scanning are not taken

	Logger         *slog.Logger
	AccessLog      *slog.Logger // a line for each request; nil: none
	Registry       *prometheus.Registry
	Now            func() time.Time
	TrustedProxies []netip.Prefix  // whose X-Forwarded-For counts, and what they say of their clients' requests
	Stopping       context.Context // ends when streams and long polls are to end
	Limits         Limits
	Tracing        bool // OpenTelemetry spans for requests
	Version        string
}

type server struct {
	Options
	mux       *http.ServeMux
	huma      huma.API
	admission *admission
	leaks     *prometheus.CounterVec

	trail *eventstore.Trail

	permissions []routePermission // of every route

	bulk chan struct{} // the slots of bulk requests' parts

	backingUp sync.Mutex // held while a back-up is made

	gatewayWaits   atomic.Int64 // requests of gateways that wait for a position
	saidByStranger sync.Once    // a peer that is no trusted proxy has said what only gateways can
}

// setUp sets what Huma has one of for a whole program.
var setUp sync.Once

// New is the whole API as one handler.
func New(o Options) http.Handler {
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	o.Registry = cmp.Or(o.Registry, prometheus.NewRegistry())
	o.Stopping = cmp.Or(o.Stopping, context.Background())
	if o.Now == nil {
		o.Now = time.Now
	}
	setUp.Do(func() {
		huma.NewError = humaProblem
		huma.ValidateStrictCasing = true  // NAME is not name
		huma.DefaultArrayNullable = false // a list is empty, never null
	})
	s := &server{Options: o, mux: http.NewServeMux(), admission: newAdmission(o.Limits, o.Registry), leaks: newLeakCounter(o.Registry), trail: cmp.Or(o.Trail, eventstore.NewTrail(o.Ledger, o.Store)),
		bulk: make(chan struct{}, bulkSlots)}
	config := huma.DefaultConfig("Keytrail", o.Version)
	config.CreateHooks = nil                                             // no $schema member in answers
	config.DocsPath, config.OpenAPIPath, config.SchemasPath = "", "", "" // these are our own
	config.RejectUnknownQueryParameters = true
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer"},
		"basic":  {Type: "http", Scheme: "basic", Description: "The key as user name."},
		"apiKey": {Type: "apiKey", In: "header", Name: "X-API-Key"},
	}
	s.huma = humago.New(s.mux, config)
	s.routes()
	return s.middleware()
}

// routes are those of the whole API.
func (s *server) routes() {
	s.managementRoutes()
	s.peopleRoutes()
	s.evidenceRoutes()
	s.streamingRoutes()
	s.ssoRoutes()
	s.openRoutes()
	s.scimRoutes()
	s.operationRoutes()
}

// managementRoutes are those that Huma describes.
func (s *server) managementRoutes() {
	route(s, "createKey", "POST /v1/keys", scoped("keys:write"), 201, "Create a key", s.createKey)
	route(s, "listKeys", "GET /v1/keys", scoped("keys:read"), 200, "List keys", s.listKeys)
	route(s, "readKey", "GET /v1/keys/{id}", scoped("keys:read"), 200, "Read a key", s.readKey)
	route(s, "updateKey", "PATCH /v1/keys/{id}", scoped("keys:write"), 200, "Update a key", s.updateKey)
	route(s, "rotateKey", "POST /v1/keys/{id}/rotate", scoped("keys:write"), 200, "Give a key a new secret", s.rotateKey)
	route(s, "revokeKey", "POST /v1/keys/{id}/revoke", scoped("keys:write"), 200, "Revoke a key for good", s.revokeKey)
	route(s, "revealKey", "POST /v1/keys/{id}/reveal", scoped(domain.RevealScope), 200, "Show a key's secret again", s.revealKey)
	route(s, "disableKey", "POST /v1/keys/{id}/disable", scoped("keys:write"), 200, "Take a key out of use", s.disableKey)
	route(s, "enableKey", "POST /v1/keys/{id}/enable", scoped("keys:write"), 200, "Put a disabled key back into use", s.enableKey)
	route(s, "readUsage", "GET /v1/keys/{id}/usage", scoped("keys:read"), 200, "Count a key's uses by outcome", s.keyUsage)
	route(s, "listUsage", "GET /v1/usage", scoped("keys:read"), 200, "Count the uses of many keys by outcome", s.listUsage)
	route(s, bulkRevocation, "POST /v1/keys/revoke", scoped("keys:write"), 200, "Revoke many keys", s.revokeKeys)
	route(s, "createOrganization", "POST /v1/organizations", ofInstallation("organizations:write"), 201, "Create an organization", s.createOrganization)
	route(s, "listOrganizations", "GET /v1/organizations", scoped("organizations:read"), 200, "List organizations", s.listOrganizations)
	route(s, "readOrganization", "GET /v1/organizations/{id}", scoped("organizations:read"), 200, "Read an organization", s.readOrganization)
	route(s, "updateOrganization", "PATCH /v1/organizations/{id}", scoped("organizations:write"), 200, "Update an organization", s.updateOrganization)
	route(s, "replaceOrganizationAttributes", "PUT /v1/organizations/{id}/attributes", ofInstallation("organizations:write"), 200, "Replace an organization's attributes", s.replaceOrganizationAttributes)
	route(s, "suspendOrganization", "POST /v1/organizations/{id}/suspend", ofInstallation("organizations:write"), 200, "Refuse all keys of an organization", s.suspendOrganization)
	route(s, "resumeOrganization", "POST /v1/organizations/{id}/resume", ofInstallation("organizations:write"), 200, "End the suspension of an organization", s.resumeOrganization)
	route(s, "readDirectory", "GET /v1/organizations/{id}/scim", scoped("sso:read"), 200, "Read the roles of a directory's groups", s.readDirectory)
	route(s, "putDirectory", "PUT /v1/organizations/{id}/scim", scoped("sso:write"), 200, "Say which roles a directory's groups give", s.putDirectory)
	route(s, "readOwnerAttributes", "GET /v1/owners/{owner}/attributes", scoped("owners:read"), 200, "Read an owner's attributes", s.readOwnerAttributes)
	route(s, "replaceOwnerAttributes", "PUT /v1/owners/{owner}/attributes", scoped("owners:write"), 200, "Replace an owner's attributes", s.replaceOwnerAttributes)
	route(s, "updateOwnerAttributes", "PATCH /v1/owners/{owner}/attributes", scoped("owners:write"), 200, "Update an owner's attributes", s.updateOwnerAttributes)
	route(s, "defineKeyspace", "POST /v1/keyspaces", ofInstallation("keyspaces:write"), 201, "Define a keyspace", s.defineKeyspace)
	route(s, "listKeyspaces", "GET /v1/keyspaces", scoped("keyspaces:read"), 200, "List keyspaces", s.listKeyspaces)
	route(s, "readKeyspace", "GET /v1/keyspaces/{name}", scoped("keyspaces:read"), 200, "Read a keyspace", s.readKeyspace)
	route(s, "putKeyspace", "PUT /v1/keyspaces/{name}", ofInstallation("keyspaces:write"), 200, "Define a keyspace, or give it another definition", s.putKeyspace)
	route(s, "retireKeyspace", "POST /v1/keyspaces/{name}/retire", ofInstallation("keyspaces:write"), 200, "End the creation of keys in a keyspace", s.retireKeyspace)
	route(s, "reinstateKeyspace", "POST /v1/keyspaces/{name}/reinstate", ofInstallation("keyspaces:write"), 200, "Let keys be created in a retired keyspace again", s.reinstateKeyspace)
	route(s, "listPlans", "GET /v1/plans", scoped("plans:read"), 200, "List plans", s.listPlans)
	route(s, "readPlan", "GET /v1/plans/{name}", scoped("plans:read"), 200, "Read a plan", s.readPlan)
	route(s, "putPlan", "PUT /v1/plans/{name}", ofInstallation("plans:write"), 200, "Define a plan, or give it another definition", s.putPlan)
	route(s, "retirePlan", "DELETE /v1/plans/{name}", ofInstallation("plans:write"), 200, "Give a plan to no more organizations", s.retirePlan)
	route(s, "createSink", "POST /v1/sinks", scoped("sinks:write"), 201, "Create a sink", s.createSink)
	route(s, "listSinks", "GET /v1/sinks", scoped("sinks:read"), 200, "List sinks", s.listSinks)
	route(s, "readSink", "GET /v1/sinks/{id}", scoped("sinks:read"), 200, "Read a sink, and how it fares", s.readSink)
	route(s, "updateSink", "PATCH /v1/sinks/{id}", scoped("sinks:write"), 200, "Update a sink", s.updateSink)
	route(s, "pauseSink", "POST /v1/sinks/{id}/pause", scoped("sinks:write"), 200, "Make a sink forward nothing", s.changeSink(s.Commands.PauseSink))
	route(s, "resumeSink", "POST /v1/sinks/{id}/resume", scoped("sinks:write"), 200, "Let a sink go on from where it was paused", s.changeSink(s.Commands.ResumeSink))
	route(s, "rotateSinkSecret", "POST /v1/sinks/{id}/rotate-secret", scoped("sinks:write"), 200, "Give a webhook a new signing secret", s.rotateSinkSecret)
	route(s, "deleteSink", "DELETE /v1/sinks/{id}", scoped("sinks:write"), 204, "Delete a sink for good", s.deleteSink)
	route(s, "testSink", "POST /v1/sinks/{id}/test", scoped("sinks:write"), 200, "Deliver a test event", s.testSink)
	route(s, "listSinkAttempts", "GET /v1/sinks/{id}/attempts", scoped("sinks:read"), 200, "List the latest attempts to deliver", s.listSinkAttempts)
	route(s, "replaySink", "POST /v1/sinks/{id}/replay", scoped("sinks:write"), 202, "Forward a part of the trail again", s.replaySink)
	route(s, "listDeadLetters", "GET /v1/sinks/{id}/dead-letters", scoped("sinks:read"), 200, "List what the receiver rejected for good", s.listDeadLetters)
	route(s, "replayDeadLetters", "POST /v1/sinks/{id}/dead-letters/replay", scoped("sinks:write"), 202, "Forward again what the receiver rejected", s.replayDeadLetters)
	route(s, "listSessions", "GET /v1/sessions", withoutScope("one's own; those of others with `sessions:read`"), 200, "List sessions", s.listSessions)
	route(s, "switchSession", "POST /v1/sessions/current/switch", withoutScope("one's own"), 200, "Go on in another organization", s.switchSession)
	route(s, "signOut", "DELETE /v1/sessions/current", withoutScope("one's own"), 204, "Sign out", s.signOut)
	route(s, "revokeSession", "DELETE /v1/sessions/{id}", withoutScope("one's own; those of others with `sessions:write`"), 204, "End a session", s.revokeSession)
	route(s, "revokeSessions", "POST /v1/users/{id}/sessions/revoke", withoutScope("one's own; those of others with `sessions:write`, installation-wide"), 204, "End all sessions of a user", s.revokeSessions)
	route(s, "rotateSessionKeys", "POST /v1/sessions/keys/rotate", ofInstallation("sessions:write"), 200, "Sign the tokens of sessions with a new key", s.rotateSessionKeys)
	route(s, "changePassword", "PUT /v1/principal/password", withoutScope("one's own, with the present one"), 204, "Change one's own password", s.changePassword)
	route(s, "requestPasswordReset", "POST /v1/users/{id}/password-reset", ofInstallation(domain.UsersWriteScope), 201, "Make a token that sets a user's password once", s.requestPasswordReset)
	route(s, "readPrincipal", "GET /v1/principal", withoutScope("it tells of the caller alone"), 200, "Tell who is calling", s.principal)
	route(s, "readReactions", "GET /v1/reactions", ofInstallation("projections:read"), 200, "Tell how far the reactions to events are", s.readReactions)
	route(s, "listProjections", "GET /v1/projections", ofInstallation("projections:read"), 200, "Tell how far the read model is", s.listProjections)
	route(s, "startRebuild", "POST /v1/projections/{name}/rebuild", ofInstallation("projections:write"), 202, "Begin to rebuild a projection beside the old one", s.startRebuild)
	route(s, "cancelRebuild", "DELETE /v1/projections/{name}/rebuild", ofInstallation("projections:write"), 200, "Cancel a rebuild", s.cancelRebuild)

	route(s, "readTrailLog", "GET /v1/trail", ofInstallation(auditScope), 200, "Tell what of the trail is signed", s.readTrailLog)
	route(s, "renewTrail", "POST /v1/trail/renew", ofInstallation("audit:write"), 200, "End the Merkle logs and begin the next ones", s.renewTrail)
	route(s, "rotateTrailKeys", "POST /v1/trail/keys/rotate", ofInstallation("audit:write"), 200, "Sign checkpoints with new keys", s.rotateTrailKeys)
}

// peopleRoutes are those of users, and of what they may do in organizations.
func (s *server) peopleRoutes() {
	route(s, "listMembers", "GET /v1/organizations/{org}/members", scoped("members:read"), 200, "List the members of an organization", s.listMembers)
	route(s, "readMember", "GET /v1/organizations/{org}/members/{user}", scoped("members:read"), 200, "Read a member", s.readMember)
	route(s, "putMember", "PUT /v1/organizations/{org}/members/{user}", scoped(membersWriteScope), 200, "Make a user a member, or give a member another role", s.putMember)
	route(s, "removeMember", "DELETE /v1/organizations/{org}/members/{user}", withoutScope("members may leave; to remove another one takes `members:write`"), 200, "End a membership", s.removeMember)
	route(s, "listRoles", "GET /v1/organizations/{org}/roles", scoped("members:read"), 200, "List the roles of an organization", s.listRoles)
	route(s, "readRole", "GET /v1/organizations/{org}/roles/{role}", scoped("members:read"), 200, "Read a role", s.readRole)
	route(s, "putRole", "PUT /v1/organizations/{org}/roles/{role}", scoped(membersWriteScope), 200, "Define a role, or give it other scopes", s.putRole)
	route(s, "removeRole", "DELETE /v1/organizations/{org}/roles/{role}", scoped(membersWriteScope), 204, "Remove a role that no member has", s.removeRole)
	route(s, "createInvitation", "POST /v1/organizations/{org}/invitations", scoped(membersWriteScope), 201, "Invite an address to become a member", s.createInvitation)
	route(s, "listInvitations", "GET /v1/organizations/{org}/invitations", scoped(membersWriteScope), 200, "List invitations", s.listInvitations)
	route(s, "rotateInvitationToken", "POST /v1/organizations/{org}/invitations/{invitation}/token", ofInstallation(domain.UsersWriteScope), 200, "Make a token to send to the invited address", s.rotateInvitationToken)
	route(s, "revokeInvitation", "DELETE /v1/organizations/{org}/invitations/{invitation}", scoped(membersWriteScope), 204, "Take an invitation back", s.revokeInvitation)
	route(s, "createUser", "POST /v1/users", ofInstallation(domain.UsersWriteScope), 201, "Create a user", s.createUser)
	route(s, "listUsers", "GET /v1/users", ofInstallation("users:read"), 200, "List users", s.listUsers)
	route(s, "readUser", "GET /v1/users/{user}", ofInstallation("users:read"), 200, "Read a user", s.readUser)
	route(s, "updateUser", "PATCH /v1/users/{user}", ofInstallation(domain.UsersWriteScope), 200, "Update a user", s.updateUser)
	route(s, "disableUser", "POST /v1/users/{user}/disable", ofInstallation(domain.UsersWriteScope), 200, "End a user's sessions, and refuse log-in and keys", s.disableUser)
	route(s, "enableUser", "POST /v1/users/{user}/enable", ofInstallation(domain.UsersWriteScope), 200, "Let a disabled user in again", s.enableUser)
	route(s, "removeUser", "DELETE /v1/users/{user}", ofInstallation(domain.UsersWriteScope), 200, "Remove a user for good", s.removeUser)
}

// evidenceRoutes are those of the Merkle logs, in the formats of C2SP.
func (s *server) evidenceRoutes() {
	s.raw("readCheckpoint", "GET /v1/trail/{stream}/checkpoint", ofInstallation(auditScope), documentCheckpoint(), s.checkpoint)
	s.raw("readTile", "GET /v1/trail/{stream}/tile/{level}/{index...}", ofInstallation(auditScope), documentTile("Hashes of a Merkle log"), s.tile)
	s.raw("readEntries", "GET /v1/trail/{stream}/tile/entries/{index...}", ofInstallation(auditScope), documentTile("Entries of a Merkle log"), s.entries)
	s.raw("readVerifierKeys", "GET /v1/trail/{stream}/vkey", scoped(auditScope), documentVerifierKeys(), s.verifierKeys)
	s.raw("readAllVerifierKeys", "GET /v1/trail/vkey", scoped(auditScope), documentVerifierKeys(), s.verifierKeys)
}

// ssoRoutes are those of single sign-on.
func (s *server) ssoRoutes() {
	route(s, "readSSO", "GET /v1/organizations/{org}/sso", scoped("sso:read"), 200, "Read the single sign-on of an organization", s.readSSO)
	route(s, "putSSO", "PUT /v1/organizations/{org}/sso", scoped("sso:write"), 200, "Give an organization single sign-on, or another one", s.putSSO)
	route(s, "deleteSSO", "DELETE /v1/organizations/{org}/sso", scoped("sso:write"), 204, "End the single sign-on of an organization, and its sessions", s.deleteSSO)
	route(s, "linkIdentity", "POST /v1/sessions/current/identities", withoutScope("one's own"), 200, "Let the caller log in by a provider", s.linkIdentity)
	s.open("exchangeCode", "POST /v1/sessions/sso", openTo("the code is of a log-in"), s.documentExchangeCode(), s.exchangeCode)
	s.open("beginSSO", "GET /v1/sso/{org}/login", openTo("the provider asks who it is"), documentBeginSSO(), s.beginSSO)
	s.open("finishSSO", "GET /v1/sso/{org}/callback", openTo("the provider says who it is"), documentFinishSSO(), s.finishSSO)
}

// streamingRoutes are those with bodies that are too long for memory, or with many keys.
func (s *server) streamingRoutes() {
	s.raw("importKeys", "POST /v1/keys/import", scoped("keys:write"), s.documentImport(), s.importKeys)
	s.raw("exportKeys", "GET /v1/keys/export", ofInstallation("keys:export"), documentExport(), s.exportKeys)
	s.raw("backUp", "GET /v1/backup", ofInstallation("backup:read"), documentBackup(), s.backUp)
	s.raw("verifyKeys", "POST /v1/verify/batch", scoped(verifyScope), s.documentVerifyBatch(), s.verifyBatch)
	s.raw("proveEvent", "GET /v1/events/{position}/proof", scoped(auditScope), s.documentProof(), s.prove)
	s.raw("exportEvidence", "GET /v1/trail/bundle", scoped(auditScope), s.documentBundle(), s.bundle)
	s.raw("listEvents", "GET /v1/events", scoped(auditScope), s.documentEvents(), s.events)
}

// openRoutes are those that ask for no management key, or look at it on the hot path.
func (s *server) openRoutes() {
	presentedKey := openTo("the key that is presented is the one that it is about")
	report := openTo("whoever has found a secret can report it; the answer tells nothing of the key")
	s.open("introspect", introspectRoute, scoped(verifyScope), s.documentIntrospect(), s.introspect)
	s.open("revokeSelf", "POST /v1/keys/self/revoke", presentedKey, s.documentRevokeSelf(), s.revokeSelf)
	s.open("reportLeaks", "POST /v1/leaks", report, s.documentLeaks(), s.reportLeaks)
	s.open("reportGitHubLeaks", "POST /v1/leaks/github", openTo("GitHub signs the report"), s.documentGitHubLeaks(), s.reportGitHubLeaks)
	s.open("acceptInvitation", "POST /v1/invitations/accept", openTo("the token is the credential"), s.documentAcceptInvitation(), s.acceptInvitation)
	s.open("deriveToken", "POST /v1/tokens", presentedKey, s.documentDeriveToken(), s.deriveToken)
	s.open("logIn", "POST /v1/sessions", openTo("the password is the credential"), s.documentLogIn(), s.logIn)
	for _, at := range []struct{ id, method string }{{"askProduct", "GET"}, {"postToProduct", "POST"}, {"putToProduct", "PUT"}, {"deleteAtProduct", "DELETE"}} {
		s.open(at.id, at.method+" /v1/products/{keyspace}/{path...}", openTo("the password or the session is the credential"), s.documentProductSession(), s.productSession)
	}
	s.open("resetPassword", "POST /v1/passwords/reset", openTo("the token of the reset is the credential"), s.documentResetPassword(), s.resetPassword)
	keySet := openTo("public keys, for whoever checks a token")
	if s.Tokens != nil {
		s.handle("keySet", "GET /.well-known/jwks.json", keySet, s.keySet)
	}
	s.document("keySet", "GET /.well-known/jwks.json", keySet, documentKeySet())
	// The middleware answers these two; verifyKey is here for the 405.
	gateway := openTo("a gateway passes its client's request on, with the key that it is about")
	s.handle("verifyKey", verifyRoute, scoped(verifyScope), http.NotFound)
	s.document("verifyKey", verifyRoute, scoped(verifyScope), s.documentVerify())
	s.handle("authorize", authorizeRoute, gateway, http.NotFound)
	s.document("authorize", "GET "+authorizeRoute, gateway, s.documentAuthorize())
}

// operationRoutes are those of operators and of the documentation.
func (s *server) operationRoutes() {
	probe := openTo("for probes and monitoring, which carry no key; they tell of no organization")
	s.handle("livez", "GET /livez", probe, s.livez)
	s.document("livez", "GET /livez", probe, documentLive())
	s.handle("readyz", "GET /readyz", probe, s.readyz)
	s.document("readyz", "GET /readyz", probe, documentReady())
	s.handle("metrics", "GET /metrics", probe, newScrape(s.Registry).ServeHTTP)
	s.document("metrics", "GET /metrics", probe, documentMetrics())
	contract := openTo("the contract, the same for everyone")
	s.handle("openapi", "GET /openapi.json", contract, s.serveOpenAPI())
	s.handle("docs", "GET /docs", contract, s.docs)
	s.handle("docsFile", "GET /docs/{file}", contract, s.docs)
}
