package api

import (
	"context"
	"errors"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/projections"
)

// A Key is a key as the API shows it: never with a secret or a digest.
type Key struct {
	ID               domain.KeyID       `json:"id"`
	Org              *domain.OrgID      `json:"org_id" doc:"null: a management key that serves the whole installation"`
	Keyspace         string             `json:"keyspace"`
	Environment      string             `json:"environment,omitempty" doc:"If the keyspace has some."`
	Name             string             `json:"name"`
	Prefix           string             `json:"prefix"`
	Recoverable      bool               `json:"recoverable,omitempty" doc:"Its secret can be revealed."`
	Owner            string             `json:"owner"`
	Scopes           []string           `json:"scopes"`
	Status           keyStatus          `json:"status"`
	CreatedAt        time.Time          `json:"created_at"`
	CreatedBy        string             `json:"created_by"`
	ExpiresAt        *time.Time         `json:"expires_at"`
	RotateAfter      KnownTime          `json:"rotate_after,omitzero" doc:"Not of a past moment. When the newest secret is as old as the keyspace lets it become; null: it may be of any age."`
	RotationDue      *bool              `json:"rotation_due,omitzero" nullable:"false" doc:"Not of a past moment. That time has come. The key stays good."`
	LastUsedAt       KnownTime          `json:"last_used_at,omitzero" doc:"Not of a past moment."`
	RevokedAt        *time.Time         `json:"revoked_at"`
	RevokedBy        *string            `json:"revoked_by"`
	RevocationReason *reasonOrNull      `json:"revocation_reason"`
	RateLimits       []domain.RateLimit `json:"rate_limits"`
	AllowedCIDRs     []string           `json:"allowed_cidrs"`
	Metadata         map[string]string  `json:"metadata"`
	Revision         uint64             `json:"revision"`
}

func (s *server) showKey(k projections.KeyRow) Key {
	shown := showKeyAt(k, s.Now())
	var bounds domain.KeyBounds
	if keyspace, err := s.Store.Keyspaces().Named(k.Keyspace); err == nil {
		bounds = keyspace.Bounds
	}
	due := bounds.RotationDue(&k.Key, s.Now())
	shown.RotateAfter, shown.RotationDue, shown.LastUsedAt = Known(bounds.RotateAt(&k.Key)), &due, Known(k.LastUsedAt)
	return shown
}

// showKeyAt is what follows from the key's own events up to a moment.
func showKeyAt(k projections.KeyRow, now time.Time) Key {
	shown := Key{
		ID: k.ID, Keyspace: k.Keyspace, Environment: k.Environment, Name: k.Name, Prefix: k.Secrets[0].Prefix, Owner: k.Owner, Scopes: orEmpty(k.Scopes),
		Status: keyStatus(k.StateAt(now).String()), CreatedAt: k.CreatedAt, CreatedBy: k.CreatedBy, ExpiresAt: orNull(k.ExpiresAt),
		RevokedAt: orNull(k.RevokedAt), RateLimits: orEmpty(k.RateLimits),
		AllowedCIDRs: orEmpty(k.AllowedCIDRs), Metadata: k.Metadata, Revision: uint64(k.Revision),
	}
	shown.Recoverable = k.State != domain.Revoked && len(k.Secrets[0].Sealed) > 0
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
	return &keyAnswer{etag(k.Revision), uint64(k.Revision), s.showKey(k)}
}

// keyRow adds what only the read model knows to a command's result.
func (s *server) keyRow(r commands.KeyResult) projections.KeyRow {
	row := projections.KeyRow{Key: r.Key, Revision: r.Position}
	if seen, err := s.Store.Key(domain.Only(r.Key.Org), r.Key.ID); err == nil {
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
	if err := s.waitFor(ctx, r.Position); err != nil {
		s.Logger.WarnContext(ctx, "answered before the read model had the key", "key", r.Key.ID, "position", r.Position)
	}
	a := &secretAnswer{ETag: etag(r.Position), Position: uint64(r.Position), NoStore: "no-store"}
	a.Body.Key, a.Body.Secret = s.showKey(s.keyRow(r)), r.Secret.Reveal()
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
	org, err := within(p, in.Body.Org)
	if err != nil {
		return nil, err
	}
	result, err := s.Commands.CreateKey(ctx, commands.CreateKey{Request: in.request, Org: org, Keyspace: in.Body.Keyspace, Environment: in.Body.Environment, TTL: in.Body.TTL, Settings: in.Body.Settings})
	return s.withSecret(ctx, result, err)
}

// KeyPath names a key in a path.
type KeyPath struct {
	ID string `path:"id" doc:"The key's id." maxLength:"64"`
}

type readKeyRequest struct {
	KeyPath
	AfterParam
	AtParam
}

func (s *server) readKey(ctx context.Context, p domain.Principal, in *readKeyRequest) (*keyAnswer, error) {
	if err := s.waitAfter(ctx, in.AfterParam); err != nil {
		return nil, err
	}
	if in.At != "" {
		return s.readFormerKey(ctx, p, in)
	}
	k, err := s.readableKey(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	return s.keyAnswer(k), nil
}

// KeyWrite is what a request that changes a key has beside its body.
type KeyWrite struct {
	WriteHeaders
	KeyPath
}

// changeKey carries out a command on the key that a request names, and answers with the key
// once the change is in the read model.
func (s *server) changeKey(ctx context.Context, p domain.Principal, in KeyWrite, command func(domain.OrgID, domain.KeyID) (commands.KeyResult, error)) (*keyAnswer, error) {
	org, id, err := s.writableKey(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	result, err := command(org, id)
	if err == nil {
		err = s.waitFor(ctx, result.Position)
	}
	if err != nil {
		return nil, err
	}
	return s.keyAnswer(s.keyRow(result)), nil
}

type updateKeyRequest struct {
	KeyWrite
	Body keyChanges
}

func (s *server) updateKey(ctx context.Context, p domain.Principal, in *updateKeyRequest) (*keyAnswer, error) {
	if err := in.Body.mergeNulls(ctx); err != nil {
		return nil, err
	}
	return s.changeKey(ctx, p, in.KeyWrite, func(org domain.OrgID, id domain.KeyID) (commands.KeyResult, error) {
		return s.Commands.UpdateKey(ctx, commands.UpdateKey{Request: in.request, Org: org, Key: id, Changes: in.Body.Changes})
	})
}

type rotateKeyRequest struct {
	KeyWrite
	Body *rotateKeyBody `required:"false"`
}

type rotateKeyBody struct {
	Overlap *domain.Duration `json:"overlap,omitempty" doc:"How long the secrets before stay good, like 24h; left out: the min_overlap of the keyspace, or else they are refused at once."`
}

// TransformSchema states the bound of the overlap.
func (rotateKeyBody) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return bounded[commands.RotateKey](r, s)
}

// rotateKey waits for the read model before the key is rotated, too: if it is far behind, the
// new secret, which is in the answer alone, could not be given out.
func (s *server) rotateKey(ctx context.Context, p domain.Principal, in *rotateKeyRequest) (*secretAnswer, error) {
	org, id, err := s.writableKey(ctx, p, in.ID)
	if err == nil {
		err = s.waitForEnd(ctx)
	}
	if err != nil {
		return nil, err
	}
	c := commands.RotateKey{Request: in.request, Org: org, Key: id}
	if in.Body != nil {
		c.Overlap = in.Body.Overlap
	}
	result, err := s.Commands.RotateKey(ctx, c)
	if err == nil && result.Key.Secrets[1].Ended {
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
	err := s.waitForAtMost(ctx, rotateTimeout, r.Position)
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
	Comment string `json:"comment,omitempty"`
}

// TransformSchema states the bound of the comment.
func (ReasonBody) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return bounded[commands.RevokeKey](r, s)
}

type revokeKeyRequest struct {
	KeyWrite
	Body *ReasonBody `required:"false"`
}

func (s *server) revokeKey(ctx context.Context, p domain.Principal, in *revokeKeyRequest) (*keyAnswer, error) {
	var why ReasonBody
	if in.Body != nil {
		why = *in.Body
	}
	return s.changeKey(ctx, p, in.KeyWrite, func(org domain.OrgID, id domain.KeyID) (commands.KeyResult, error) {
		return s.Commands.RevokeKey(ctx, commands.RevokeKey{Request: in.request, Org: org, Key: id, Reason: domain.Reason(why.Reason), Comment: why.Comment})
	})
}

type switchKeyRequest struct {
	KeyWrite
	Body *struct{} `required:"false"`
}

func (s *server) disableKey(ctx context.Context, p domain.Principal, in *switchKeyRequest) (*keyAnswer, error) {
	return s.changeKey(ctx, p, in.KeyWrite, func(org domain.OrgID, id domain.KeyID) (commands.KeyResult, error) {
		return s.Commands.DisableKey(ctx, commands.DisableKey{Request: in.request, Org: org, Key: id})
	})
}

func (s *server) enableKey(ctx context.Context, p domain.Principal, in *switchKeyRequest) (*keyAnswer, error) {
	return s.changeKey(ctx, p, in.KeyWrite, func(org domain.OrgID, id domain.KeyID) (commands.KeyResult, error) {
		return s.Commands.EnableKey(ctx, commands.EnableKey{Request: in.request, Org: org, Key: id})
	})
}
