package commands

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"

	"github.com/keytrail/keytrail/domain"
)

// ImportKey takes over a key that was issued elsewhere, by the digest of its secret.
type ImportKey struct {
	Request `validate:"-"`
	domain.Settings
	Org         domain.OrgID  `json:"org_id"`
	Keyspace    string        `json:"keyspace"`
	Environment string        `json:"environment"` // "": none is known
	Digest      domain.Digest `json:"digest" validate:"-"`
	Prefix      string        `json:"prefix" validate:"max=32,printable"`
}

// ImportKey carries out c. An organization has one key to a digest: the key's id follows
// from both, so importing a digest again finds the key and writes nothing.
func (h *Handler) ImportKey(ctx context.Context, c ImportKey) (KeyResult, error) {
	if c.Keyspace == "" {
		c.Keyspace = domain.DefaultKeyspace
	}
	normalize(&c.Settings)
	if err := valid(c); err != nil {
		return KeyResult{}, err
	}
	keyspace, err := h.importInto(c)
	if err != nil {
		return KeyResult{}, err
	}
	if err := h.mustExist(ctx, c.Org); err != nil {
		return KeyResult{}, err
	}
	id := h.importedID(c.Org, c.Digest)
	if k, at, found := h.knownKey(c.Org, id); found && k.Imported {
		return KeyResult{Key: k, Position: at, Replayed: true, Changed: true}, nil // only its import makes this id
	}
	// The command is the import of this digest, by any caller, any number of times.
	c.CommandID, c.Fingerprint = "import-"+string(id), ""
	n := newKey{Request: c.Request, org: c.Org, keyspace: keyspace, owner: c.Owner, id: id}
	n.decide = func(k domain.Key, _ domain.KeyID) (domain.Event, error) {
		return k.Create(domain.CreateKey{ID: id, Org: c.Org, Keyspace: c.Keyspace, Environment: c.Environment, Policy: keyspace.KeyspaceDefinition, Plan: h.plans.Plan(c.Org),
			Settings: c.Settings, Digest: c.Digest, Prefix: c.Prefix, Imported: true, At: h.now(), By: c.By})
	}
	return h.createWithin(ctx, n)
}

// importInto finds the keyspace of the key, whose environment must be one of its.
func (h *Handler) importInto(c ImportKey) (*domain.Keyspace, error) {
	keyspace, err := h.newKeysIn(c.Keyspace)
	if err == nil && c.Environment != "" {
		_, err = keyspace.Shape(c.Environment)
	}
	return keyspace, err
}

// importedID is the id of the key that an organization has for a digest. It is keyed with a
// secret of the installation: a plain hash would let a reader of the audit trail, who sees
// ids and no digests, try guesses at weak secrets offline.
func (h *Handler) importedID(org domain.OrgID, d domain.Digest) domain.KeyID {
	mac := hmac.New(sha256.New, h.importIDs[:])
	bits := org.Bytes()
	mac.Write(bits[:])
	mac.Write(d[:])
	return domain.KeyIDFromBytes([16]byte(mac.Sum(nil)))
}
