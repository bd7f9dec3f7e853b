package api

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/projections"
)

// A Key is a key as the API shows it: never with a secret or a digest.
type Key struct {
	ID               domain.KeyID       `json:"id"`
	Org              *domain.OrgID      `json:"org_id" doc:"null: a management key that serves the whole installation"`
	Keyspace         string             `json:"keyspace"`
	Name             string             `json:"name"`
	Prefix           string             `json:"prefix"`
	Owner            string             `json:"owner"`
	Scopes           []string           `json:"scopes"`
	Status           keyStatus          `json:"status"`
	CreatedAt        time.Time          `json:"created_at"`
	CreatedBy        string             `json:"created_by"`
	ExpiresAt        *time.Time         `json:"expires_at"`
	LastUsedAt       *time.Time         `json:"last_used_at"`
	RevokedAt        *time.Time         `json:"revoked_at"`
	RevokedBy        *string            `json:"revoked_by"`
	RevocationReason *reasonOrNull      `json:"revocation_reason"`
	RateLimits       []domain.RateLimit `json:"rate_limits"`
	AllowedCIDRs     []string           `json:"allowed_cidrs"`
	Metadata         map[string]string  `json:"metadata"`
	Revision         uint64             `json:"revision"`
}

func (s *server) show(k projections.KeyRow) Key {
	shown := Key{
		ID: k.ID, Keyspace: k.Keyspace, Name: k.Name, Prefix: k.Secrets[0].Prefix, Owner: k.Owner, Scopes: orEmpty(k.Scopes),
		Status: keyStatus(k.StateAt(s.Now()).String()), CreatedAt: k.CreatedAt, CreatedBy: k.CreatedBy, ExpiresAt: orNull(k.ExpiresAt),
		LastUsedAt: orNull(k.LastUsedAt), RevokedAt: orNull(k.RevokedAt), RateLimits: orEmpty(k.RateLimits),
		AllowedCIDRs: orEmpty(k.AllowedCIDRs), Metadata: k.Metadata, Revision: uint64(k.Revision),
	}
	if k.Org != domain.Installation {
		shown.Org = &k.Org
	}
	if k.State == domain.Revoked {
		shown.RevokedBy, shown.RevocationReason = &k.RevokedBy, (*reasonOrNull)(&k.Reason)
	}
	if shown.Metadata == nil {
		shown.Metadata = map[string]string{}
	}
	return shown
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// keyAnswer is one key, with its revision as ETag.
type keyAnswer struct {
	ETag     string `header:"ETag"`
	Position uint64 `header:"Keytrail-Position"`
	Body     Key
}

// secretAnswer is a key and its new secret, which appears here and nowhere else.
type secretAnswer struct {
	ETag     string `header:"ETag"`
	Position uint64 `header:"Keytrail-Position"`
	Replayed string `header:"Idempotency-Replayed"`
	NoStore  string `header:"Cache-Control"`
	Body     struct {
		Key    Key    `json:"key"`
		Secret string `json:"secret,omitempty" doc:"The key's text, shown this once; absent when an Idempotency-Key is repeated."`
	}
}

func (s *server) keyAnswer(k projections.KeyRow) *keyAnswer {
	return &keyAnswer{etag(k.Revision), uint64(k.Revision), s.show(k)}
}

// changed answers a change of a key once the read model has it.
func (s *server) changed(ctx context.Context, r commands.KeyResult, err error) (*keyAnswer, error) {
	if err != nil {
		return nil, err
	}
	if err := s.applied(ctx, r.Position); err != nil {
		return nil, err
	}
	return s.keyAnswer(s.row(r)), nil
}

// row adds what only the read model knows to a command's result.
func (s *server) row(r commands.KeyResult) projections.KeyRow {
	row := projections.KeyRow{Key: r.Key, Revision: r.Position}
	if seen, err := s.Store.Key(r.Key.ID); err == nil {
		row.LastUsedAt = seen.LastUsedAt
	}
	return row
}

// withSecret answers with a secret. It waits for the read model, too, but does not fail on
// it: the secret exists in this answer alone.
func (s *server) withSecret(ctx context.Context, r commands.KeyResult, err error) (*secretAnswer, error) {
	if err != nil {
		return nil, err
	}
	if err := s.applied(ctx, r.Position); err != nil {
		s.Logger.WarnContext(ctx, "answered before the read model had the key", "key", r.Key.ID, "position", r.Position)
	}
	a := &secretAnswer{ETag: etag(r.Position), Position: uint64(r.Position), NoStore: "no-store"}
	a.Body.Key, a.Body.Secret = s.show(s.row(r)), r.Secret.Reveal()
	if r.Replayed {
		a.Replayed = "true"
	}
	return a, nil
}

type createKeyRequest struct {
	WriteHeaders
	Body newKey
}

func (s *server) createKey(ctx context.Context, p domain.Principal, in *createKeyRequest) (*secretAnswer, error) {
	r, err := in.request(ctx, p)
	if err != nil {
		return nil, err
	}
	org, err := within(p, in.Body.Org)
	if err != nil {
		return nil, err
	}
	result, err := s.Commands.CreateKey(ctx, commands.CreateKey{Request: r, Org: org, Keyspace: in.Body.Keyspace, TTL: in.Body.TTL, Settings: in.Body.Settings})
	return s.withSecret(ctx, result, err)
}

// KeyPath names a key in a path; after makes a reader wait for a position.
type KeyPath struct {
	ID string `path:"id" doc:"The key's id." maxLength:"64"`
}

// find is the key's id and organization. A caller bound to an organization needs no read
// model for that; to it, another one's key does not exist.
func (s *server) find(ctx context.Context, p domain.Principal, text string) (domain.OrgID, domain.KeyID, error) {
	id, err := domain.ParseKeyID(text)
	if err != nil {
		return "", "", err
	}
	if !p.Reach().All {
		return p.Org, id, nil
	}
	k, err := s.key(ctx, p, id)
	return k.Org, id, err
}

// key reads a key within the caller's reach. If the read model has none, a caller who
// serves the installation makes it catch up with the ledger first: another node may have
// made the key just now. Callers of one organization, of whom there may be many, do not:
// they have after.
func (s *server) key(ctx context.Context, p domain.Principal, id domain.KeyID) (projections.KeyRow, error) {
	k, err := s.Store.Key(id)
	if errors.Is(err, domain.ErrKeyNotFound) && p.Reach().All {
		if err = s.atEnd(ctx); err == nil {
			k, err = s.Store.Key(id)
		}
	}
	if err == nil && !p.Reaches(k.Org) {
		err = domain.ErrKeyNotFound
	}
	return k, err
}

// atEnd waits until the read model has all that the ledger has now.
func (s *server) atEnd(ctx context.Context) error {
	end, err := s.Ledger.End(ctx, eventstore.Events)
	if err == nil && s.applied(ctx, end) != nil {
		err = domain.ErrReadModelBehind // of no write of the caller's
	}
	return err
}

type readKeyRequest struct {
	KeyPath
	AfterParam
}

// AfterParam lets a reader ask for a state at least as new as a position.
type AfterParam struct {
	After uint64 `query:"after" doc:"Wait until the read model has this position."`
}

var errAfter = domain.InvalidField("after", "the ledger has no such position yet; name the Keytrail-Position of a write's answer")

func parseAfter(text string) (AfterParam, error) {
	after, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		err = errAfter
	}
	return AfterParam{after}, err
}

// caughtUp waits for the position that a reader names. One beyond the ledger's end is a
// mistake: no write was answered with it.
func (s *server) caughtUp(ctx context.Context, in AfterParam) error {
	p := eventstore.Position(in.After)
	if s.Store.Position() >= p {
		return nil
	}
	end, err := s.Ledger.End(ctx, eventstore.Events)
	if err == nil && p > end {
		err = errAfter
	}
	if err != nil {
		return err
	}
	return s.applied(ctx, p)
}

// What after may cost where anybody can send it: some requests that wait a moment each, and
// no call to the ledger.
const (
	maxGatewayWaits = 64
	gatewayWait     = time.Second
)

// gatewayCaughtUp is caughtUp for forward authentication, which needs no credential.
func (s *server) gatewayCaughtUp(ctx context.Context, in AfterParam) error {
	p := eventstore.Position(in.After)
	if s.Store.Position() >= p {
		return nil
	}
	defer s.gatewayWaits.Add(-1)
	if s.gatewayWaits.Add(1) > maxGatewayWaits {
		return domain.ErrReadModelBehind
	}
	return s.appliedWithin(ctx, gatewayWait, p)
}

func (s *server) readKey(ctx context.Context, p domain.Principal, in *readKeyRequest) (*keyAnswer, error) {
	id, err := domain.ParseKeyID(in.ID)
	if err != nil {
		return nil, err
	}
	if err := s.caughtUp(ctx, in.AfterParam); err != nil {
		return nil, err
	}
	k, err := s.key(ctx, p, id)
	if err != nil {
		return nil, err
	}
	return s.keyAnswer(k), nil
}

type updateKeyRequest struct {
	WriteHeaders
	KeyPath
	Body keyChanges
}

func (s *server) updateKey(ctx context.Context, p domain.Principal, in *updateKeyRequest) (*keyAnswer, error) {
	r, err := in.request(ctx, p)
	if err == nil {
		err = in.Body.mergeNulls(ctx)
	}
	if err != nil {
		return nil, err
	}
	org, id, err := s.find(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	result, err := s.Commands.UpdateKey(ctx, commands.UpdateKey{Request: r, Org: org, Key: id, Changes: in.Body.Changes})
	return s.changed(ctx, result, err)
}

type rotateKeyRequest struct {
	WriteHeaders
	KeyPath
	Body *struct {
		Overlap domain.Duration `json:"overlap,omitempty" doc:"How long the secrets before stay good, like 24h; left out: they are refused at once."`
	} `required:"false"`
}

func (s *server) rotateKey(ctx context.Context, p domain.Principal, in *rotateKeyRequest) (*secretAnswer, error) {
	r, err := in.request(ctx, p)
	if err != nil {
		return nil, err
	}
	org, id, err := s.find(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	c := commands.RotateKey{Request: r, Org: org, Key: id}
	if in.Body != nil {
		c.Overlap = in.Body.Overlap
	}
	// A read model that is far behind is better found out before the key is rotated.
	if err := s.atEnd(ctx); err != nil {
		return nil, err
	}
	result, err := s.Commands.RotateKey(ctx, c)
	if err == nil && c.Overlap == 0 {
		err = s.oldSecretEnded(ctx, result)
	}
	return s.withSecret(ctx, result, err)
}

// rotateTimeout is how long a rotation without overlap waits for the read model. It is
// longer than for other writes: the new secret is in its answer alone.
var rotateTimeout = 15 * time.Second

// oldSecretEnded waits until a rotation without overlap is in force: its answer says that
// the old secret is refused.
func (s *server) oldSecretEnded(ctx context.Context, r commands.KeyResult) error {
	err := s.appliedWithin(ctx, rotateTimeout, r.Position)
	var behind *Problem
	if errors.As(err, &behind) && !r.Replayed {
		behind.Detail = "the key is rotated, but the read model does not refuse the old secret yet, and the new one will not be shown; " +
			"rotate it again, with another Idempotency-Key, when the service has caught up"
	}
	return err
}

// ReasonBody says why a key is revoked.
type ReasonBody struct {
	Reason  reason `json:"reason,omitempty"`
	Comment string `json:"comment,omitempty" maxLength:"500"`
}

type revokeKeyRequest struct {
	WriteHeaders
	KeyPath
	Body *ReasonBody `required:"false"`
}

func (s *server) revokeKey(ctx context.Context, p domain.Principal, in *revokeKeyRequest) (*keyAnswer, error) {
	r, err := in.request(ctx, p)
	if err != nil {
		return nil, err
	}
	org, id, err := s.find(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	c := commands.RevokeKey{Request: r, Org: org, Key: id}
	if in.Body != nil {
		c.Reason, c.Comment = domain.Reason(in.Body.Reason), in.Body.Comment
	}
	result, err := s.Commands.RevokeKey(ctx, c)
	return s.changed(ctx, result, err)
}

type switchKeyRequest struct {
	WriteHeaders
	KeyPath
	Body *struct{} `required:"false"`
}

func (s *server) disableKey(ctx context.Context, p domain.Principal, in *switchKeyRequest) (*keyAnswer, error) {
	r, err := in.request(ctx, p)
	if err != nil {
		return nil, err
	}
	org, id, err := s.find(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	result, err := s.Commands.DisableKey(ctx, commands.DisableKey{Request: r, Org: org, Key: id})
	return s.changed(ctx, result, err)
}

func (s *server) enableKey(ctx context.Context, p domain.Principal, in *switchKeyRequest) (*keyAnswer, error) {
	r, err := in.request(ctx, p)
	if err != nil {
		return nil, err
	}
	org, id, err := s.find(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	result, err := s.Commands.EnableKey(ctx, commands.EnableKey{Request: r, Org: org, Key: id})
	return s.changed(ctx, result, err)
}
