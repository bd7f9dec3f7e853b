package commands

import (
	"context"
	"strings"

	"github.com/google/uuid"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/token"
)

// DeriveToken makes a token that stands for the key whose secret was presented.
type DeriveToken struct {
	Request  `validate:"-"`
	Org      domain.OrgID    `validate:"-"`
	Key      domain.KeyID    `validate:"-"`
	Secret   domain.Digest   `validate:"-"` // that was presented
	Scopes   []string        `json:"scopes" validate:"max=100,unique,dive,scope"`
	Audience string          `json:"audience" validate:"max=200,text"`
	TTL      domain.Duration `json:"ttl" validate:"-"`
}

// A DerivedToken is a token and what it says.
type DerivedToken struct {
	domain.TokenDerived
	Text     string
	Position eventstore.Position
}

// DeriveToken carries out c. The event is on the ledger before the token is in the result.
func (h *Handler) DeriveToken(ctx context.Context, c DeriveToken) (d DerivedToken, err error) {
	if err := valid(c); err != nil {
		return d, err
	}
	if h.tokens == nil {
		return d, domain.ErrNoTokens
	}
	// One at a time of a key: its holder can ask for many, with which the commands that are to
	// end it would conflict.
	unlock, err := h.reserving.lock(ctx, eventstore.KeyRef(c.Org, c.Key))
	if err != nil {
		return d, err
	}
	defer unlock()
	var assumed *assumption[domain.Key]
	if k, at, found := h.knownKey(c.Org, c.Key); found {
		assumed = &assumption[domain.Key]{state: k, position: at}
	}
	id := uuid.NewString()
	result, err := h.onAssumedKey(ctx, c.Org, c.Key, c.Request, assumed, func(k domain.Key) (domain.Event, error) {
		policy, err := h.policyOf(k)
		if err != nil {
			return nil, err
		}
		event, err := k.DeriveToken(domain.DeriveToken{ID: id, Digest: c.Secret, Policy: policy.Tokens, Scopes: c.Scopes, Audience: c.Audience, TTL: c.TTL, At: h.now(), By: c.By})
		if err == nil {
			d.TokenDerived = event.(domain.TokenDerived)
			d.Text, err = h.signToken(k, c.Secret, d.TokenDerived)
		}
		return event, err
	})
	d.Position = result.Position
	return d, err
}

func (h *Handler) signToken(k domain.Key, presented domain.Digest, e domain.TokenDerived) (string, error) {
	secret, _ := k.Secret(presented)
	text, err := h.tokens.Sign(token.Claims{Subject: string(k.ID), Audience: e.Audience, Org: string(k.Org), Keyspace: k.Keyspace, Owner: k.Owner, Scope: strings.Join(e.Scopes, " "),
		ID: e.ID, Secret: secret.CreatedAt.UnixMilli(), IssuedAt: e.At.Unix(), Expiry: e.ExpiresAt.Unix()})
	if err == nil && len(text) > token.MaxSize {
		err = domain.InvalidField("scopes", "make a token of more than %d bytes; ask for fewer", token.MaxSize)
	}
	return text, err
}
