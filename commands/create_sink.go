package commands

import (
	"cmp"
	"context"
	"encoding/json"
	"io"

	"github.com/keytrail/keytrail/domain"
)

// CreateSink begins the forwarding to a receiver. Settings is a JSON object of settings and
// credentials.
type CreateSink struct {
	Request    `validate:"-"`
	Org        domain.OrgID
	Definition domain.SinkDefinition
	Settings   json.RawMessage
	After      domain.TrailPlace // what it begins after
}

// CreateSink carries out c. A webhook's signing secret is in the first answer alone.
func (h *Handler) CreateSink(ctx context.Context, c CreateSink) (SinkResult, error) {
	c.identify()
	d, credentials := c.Definition, domain.SinkCredentials{}
	d.Format = cmp.Or(d.Format, d.Type.DefaultFormat())
	if _, err := mergeSettings(c.Settings, &d.Settings, &credentials); err != nil {
		return SinkResult{}, err
	}
	if err := h.checkSink(&d, &credentials); err != nil {
		return SinkResult{}, err
	}
	if err := h.mustExist(ctx, c.Org); err != nil {
		return SinkResult{}, err
	}
	create := domain.CreateSink{ID: domain.NewSinkID(c.Org, c.CommandID), Org: c.Org, Definition: d, Credentials: credentials.Names(), After: c.After, At: h.now(), By: c.By}
	var secret domain.SigningSecret
	if d.Type == domain.SinkWebhook {
		var err error
		if secret, err = h.newSigningSecret(); err != nil {
			return SinkResult{}, err
		}
		credentials.Signing = []domain.SigningSecret{secret}
		create.PublicKey = secret.PublicKey()
	}
	var err error
	if create.Sealed, err = h.sealCredentials(c.Org, create.ID, &credentials); err != nil {
		return SinkResult{}, err
	}
	if h.sinks != nil {
		create.Counts = h.sinks.SinkCounts(c.Org)
	}
	r, err := h.onSink(ctx, c.Org, create.ID, c.Request, func(s domain.Sink) (domain.Event, error) { return s.Create(create) })
	if err != nil || d.Type != domain.SinkWebhook || !r.Sink.Exists() {
		return r, err
	}
	return h.withSigningSecret(r, secret)
}

func (h *Handler) newSigningSecret() (domain.SigningSecret, error) {
	random := make([]byte, domain.SigningSecretSize)
	_, err := io.ReadFull(h.random, random)
	return domain.SigningSecret{Secret: random}, err
}
