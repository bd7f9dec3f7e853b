package commands

import (
	"context"
	"encoding/hex"

	"github.com/keytrail/keytrail/domain"
)

// ImportKey takes over a key that was issued elsewhere, by the digest of its secret.
type ImportKey struct {
	Request  `validate:"-"`
	Settings `json:""`
	Org      domain.OrgID  `json:"org_id"`
	Keyspace string        `json:"keyspace"`
	Digest   domain.Digest `json:"digest" validate:"-"`
	Prefix   string        `json:"prefix" validate:"max=32,printable"`
}

// ImportKey carries out c. An organization has one key to a digest: the key's id follows
// from both, so importing a digest again finds the key and writes nothing.
func (h *Handler) ImportKey(ctx context.Context, c ImportKey) (KeyResult, error) {
	if c.Keyspace == "" {
		c.Keyspace = domain.DefaultKeyspace
	}
	if err := valid(c); err != nil {
		return KeyResult{}, err
	}
	if err := c.Settings.valid(); err != nil {
		return KeyResult{}, err
	}
	if _, err := domain.KeyspaceNamed(c.Keyspace); err != nil {
		return KeyResult{}, err
	}
	if err := h.mustExist(ctx, c.Org); err != nil {
		return KeyResult{}, err
	}
	name := "import/" + string(c.Org) + "/" + hex.EncodeToString(c.Digest[:])
	id := domain.NewKeyID(name)
	// The command is the import of this digest, whoever sends it and how often. Its id, like
	// the key's, is a hash: the digest itself stays out of headers.
	c.CommandID, c.Fingerprint = "import-"+string(id), ""
	return h.onKey(ctx, c.Org, id, c.Request, func(k domain.Key) (domain.Event, error) {
		return k.Create(domain.CreateKey{
			ID: id, Org: c.Org, Keyspace: c.Keyspace, Name: c.Name, Owner: c.Owner, Scopes: c.Scopes, ExpiresAt: c.ExpiresAt,
			RateLimits: c.RateLimits, AllowedCIDRs: c.AllowedCIDRs, Metadata: c.Metadata,
			Digest: c.Digest, Prefix: c.Prefix, Imported: true, At: h.now(), By: c.By,
		})
	})
}
