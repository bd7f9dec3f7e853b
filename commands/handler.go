// Package commands holds the use cases that change something. Each has a file of its name
// with the Handler's method that carries it out; what a caller may say of it is a struct
// there, with the bounds of its fields. Every method loads the history of one aggregate,
// decides and appends in one loop, execute.
//
// A command carries its own identity. Repeating it, because an acknowledgement was lost or
// a client sent it again, finds the event that it already wrote and answers the same,
// without the secret (idempotency.go). No command is refused by what the read model says.
package commands

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/aead"
	"github.com/keytrail/keytrail/internal/password"
	"github.com/keytrail/keytrail/internal/token"
)

// An EventLog is the ledger as commands use it; tests wrap the real one with faults.
type EventLog interface {
	Append(context.Context, eventstore.Ref, eventstore.Position, eventstore.Command, domain.Event) (eventstore.Position, error)
	Load(context.Context, eventstore.Ref, eventstore.Position, func(eventstore.Record)) (eventstore.Position, error)
	Last(context.Context, eventstore.Ref) (eventstore.Position, error)
}

// Options of a handler. The zero value is usable.
type Options struct {
	Now       func() time.Time
	Random    io.Reader
	Logger    *slog.Logger
	Index     RequestIndex                    // nil: none but what this handler carried out itself
	Keys      KeyIndex                        // nil: none
	Keyspaces KeyspaceIndex                   // nil: those that are built in
	People    PeopleIndex                     // nil: none
	DataKeys  DataKeyStore                    // nil: no secret is recoverable
	Tokens    *token.Issuer                   // nil: no tokens are derived
	Sealing   [32]byte                        // seals data keys
	Plans     PlanIndex                       // nil: none
	Quotas    QuotaIndex                      // nil: none
	Sinks     SinkIndex                       // nil: none
	SinkHost  func(string) (objection string) // why a sink may not have a host; nil: any may be
	SinkKey   [32]byte                        // seals the credentials of sinks; zero: a random one
	SSOHost   func(string) (objection string) // why a provider may not have a host; nil: any may be
	SSOKey    [32]byte                        // seals the client secrets of single sign-on; zero: a random one
	Trail     TrailSigning                    // nil: there are no Merkle logs
	Origin    string                          // what the origins of Merkle logs begin with
	Passwords *password.Pool                  // nil: one of the handler alone
	LogIns    LogInIndex                      // nil: no user logs in by password
	LogInKey  [32]byte                        // hashes e-mail addresses that no user has; zero: a random one, which another handler does not have
	ImportIDs [32]byte                        // keys the ids of imported keys; zero: a random one, which another handler does not have

	Directories DirectoryIndex // nil: there are none
}

// A Handler carries out commands. It is safe for concurrent use.
type Handler struct {
	ledger    EventLog
	log       *slog.Logger
	clock     func() time.Time
	random    io.Reader
	requests  requests
	keys      KeyIndex
	keyspaces KeyspaceIndex
	people    PeopleIndex
	dataKeys  DataKeyStore
	sealing   aead.Key
	tokens    *token.Issuer
	plans     PlanIndex
	quotas    QuotaIndex
	reserving quotaLocks
	sinks     SinkIndex
	sinkHost  func(string) string
	sinkKey   aead.Key
	ssoHost   func(string) string
	ssoKey    aead.Key
	importIDs [32]byte
	reads     *sums // of the trail
	accesses  *sums // other reads, and refusals
	passwords *password.Pool
	logIns    *logIns
	orgs      sync.Map // domain.OrgID → true: organizations known to exist, which they do for ever

	trail       TrailSigning
	trailOrigin string

	directories DirectoryIndex
}

// New makes a handler on ledger.
func New(ledger EventLog, o Options) *Handler {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.ImportIDs == [32]byte{} {
		_, _ = rand.Read(o.ImportIDs[:]) // it ends the program if it fails
	}
	if o.LogInKey == [32]byte{} {
		_, _ = rand.Read(o.LogInKey[:])
	}
	if o.SinkHost == nil {
		o.SinkHost = func(string) string { return "" }
	}
	if o.SSOHost == nil {
		o.SSOHost = func(string) string { return "" }
	}
	if o.SSOKey == [32]byte{} {
		o.SSOKey = aead.NewKey()
	}
	if o.SinkKey == [32]byte{} {
		o.SinkKey = aead.NewKey()
	}
	if o.Passwords == nil {
		o.Passwords = password.NewPool()
	}
	if o.Keyspaces == nil {
		o.Keyspaces = builtIn{domain.NewKeyspaces(nil)}
	}
	if o.Plans == nil {
		o.Plans = noPlans{}
	}
	return &Handler{ledger: ledger, log: o.Logger, clock: o.Now, random: o.Random, keys: o.Keys, keyspaces: o.Keyspaces, people: o.People, plans: o.Plans, quotas: o.Quotas, dataKeys: o.DataKeys, sealing: o.Sealing, tokens: o.Tokens, importIDs: o.ImportIDs, sinks: o.Sinks, sinkHost: o.SinkHost, sinkKey: o.SinkKey, trail: o.Trail, trailOrigin: o.Origin,
		directories: o.Directories, ssoHost: o.SSOHost, ssoKey: o.SSOKey,
		passwords: o.Passwords, logIns: newLogIns(o.LogIns, o.LogInKey),
		reads: newSums(maxTrailFilters, maxTrailReads, false), accesses: newSums(maxAccessKinds, maxAccesses, true), requests: requests{index: o.Index, known: map[string]*request{}}}
}

// A KeyResult is a key after a command. Position is its revision.
type KeyResult struct {
	Key      domain.Key
	Position eventstore.Position
	Secret   domain.Secret // only where a secret was made, and only the first time
	Replayed bool          // the command had been carried out before
	Changed  bool          // the command wrote an event, now or before: it was not so already
}

// onKey carries out a command on a key. Of one that the index knows, what came since is loaded,
// unless the command may have been carried out: the history of a key whose holder derives tokens
// grows with each.
func (h *Handler) onKey(ctx context.Context, org domain.OrgID, id domain.KeyID, r Request, decide func(domain.Key) (domain.Event, error)) (KeyResult, error) {
	var known *assumption[domain.Key]
	if k, at, found := h.knownKey(org, id); found && r.CommandID == "" {
		known = &assumption[domain.Key]{state: k, position: at, base: true}
	}
	return h.onAssumedKey(ctx, org, id, r, known, decide)
}

// onNewKey carries out a command on a key that most likely has no history.
func (h *Handler) onNewKey(ctx context.Context, org domain.OrgID, id domain.KeyID, r Request, decide func(domain.Key) (domain.Event, error)) (KeyResult, error) {
	return h.onAssumedKey(ctx, org, id, r, &assumption[domain.Key]{}, decide)
}

func (h *Handler) onAssumedKey(ctx context.Context, org domain.OrgID, id domain.KeyID, r Request, assumed *assumption[domain.Key], decide func(domain.Key) (domain.Event, error)) (KeyResult, error) {
	o, err := executeOnce(ctx, h, eventstore.KeyRef(org, id), r, assumed, decide)
	return KeyResult{Key: o.state, Position: o.position, Replayed: o.replayed, Changed: o.changed}, err
}

// An OrganizationResult is an organization after a command. Position is its revision.
type OrganizationResult struct {
	Organization domain.Organization
	Position     eventstore.Position
	Replayed     bool
}

// onOrganization carries out a command on an organization.
func (h *Handler) onOrganization(ctx context.Context, id domain.OrgID, r Request, decide func(domain.Organization) (domain.Event, error)) (OrganizationResult, error) {
	o, err := executeOnce(ctx, h, eventstore.OrganizationRef(id), r, nil, decide)
	return OrganizationResult{Organization: o.state, Position: o.position, Replayed: o.replayed}, err
}

// mustExist refuses an organization without history. One that has some exists for ever, so
// the ledger is asked once.
func (h *Handler) mustExist(ctx context.Context, org domain.OrgID) error {
	if _, known := h.orgs.Load(org); known || org == domain.Installation {
		return nil
	}
	end, err := h.ledger.Load(ctx, eventstore.OrganizationRef(org), 0, func(eventstore.Record) {})
	if err == nil && end == 0 {
		return domain.ErrOrganizationNotFound
	}
	if err == nil {
		h.orgs.Store(org, true)
	}
	return err
}

// now is the handler's clock to the millisecond, which is what the ledger keeps.
func (h *Handler) now() time.Time { return h.clock().UTC().Truncate(time.Millisecond) }

// mint makes a secret.
func (h *Handler) mint(s domain.Shape) (domain.Secret, error) {
	random := make([]byte, s.RandomBytes())
	if _, err := io.ReadFull(h.random, random); err != nil {
		return domain.Secret{}, err
	}
	return s.Mint(random), nil
}
