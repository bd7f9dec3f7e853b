package commands

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/aead"
)

// Recoverable secrets: how a secret is sealed, and what a crash leaves behind.
//
// The secret of a key in a recoverable keyspace is sealed under a data key of its own, for its
// organization, key and digest alone, and is a private fact of the event that made it. The data key
// is sealed by a key of the installation's keyring and kept outside the ledger, where it can be
// destroyed: with it goes the only way to read the secret, which stays on the ledger for ever.
//
// When a secret is made:
//
//  1. The data key is put. After a crash here it is left over: no event names its secret.
//  2. The event is appended. Its acknowledgement comes after the data key's, so that an acknowledged
//     key has its data key.
//
// When a secret ends, because its key is rotated, with an overlap too, or revoked:
//
//  1. The event is appended. From then on the secret is not revealed. After a crash here its data
//     key is left over.
//  2. The data key is destroyed. The command has succeeded even if this fails.
//
// SweepDataKeys destroys what is left over.

// A DataKeyStore keeps data keys, sealed. The ledger's server does.
type DataKeyStore interface {
	PutDataKey(context.Context, eventstore.DataKeyRef, []byte) error
	DataKey(context.Context, eventstore.DataKeyRef) ([]byte, error)
	DestroyDataKey(context.Context, eventstore.DataKeyRef) error
	EachDataKey(context.Context, func(eventstore.DataKeyRef) error) error
}

// dataKeyRef names the data key of a secret. The digest is hashed again: a name is no private fact.
func dataKeyRef(org domain.OrgID, id domain.KeyID, d domain.Digest) eventstore.DataKeyRef {
	name := sha256.Sum256(append([]byte("keytrail data key 1 "), d[:]...))
	return eventstore.DataKeyRef{Org: org, Key: id, Secret: hex.EncodeToString(name[:16])}
}

// boundTo is the additional data of what is sealed for one secret of a key. Ids have no spaces.
func boundTo(what string, org domain.OrgID, id domain.KeyID, d domain.Digest) []byte {
	return append([]byte("keytrail "+what+" 1 "+string(org)+" "+string(id)+" "), d[:]...)
}

// A sealedSecret is the secret of one command, sealed at its first attempt.
type sealedSecret []byte

// into is the event with the sealed secret of a key, whose data key is put before.
func (s *sealedSecret) into(ctx context.Context, h *Handler, e domain.Event, org domain.OrgID, id domain.KeyID, secret domain.Secret) (_ domain.Event, err error) {
	if *s == nil {
		if *s, err = h.seal(ctx, org, id, secret); err != nil {
			return nil, err
		}
	}
	c := e.(domain.Confidential)
	p := c.Private()
	p.Sealed = *s
	return c.WithPrivate(p), nil
}

// seal seals a secret of a key, and puts its data key.
func (h *Handler) seal(ctx context.Context, org domain.OrgID, id domain.KeyID, s domain.Secret) ([]byte, error) {
	digest, key := s.Digest(), aead.NewKey()
	if err := h.dataKeys.PutDataKey(ctx, dataKeyRef(org, id, digest), h.sealing.Seal(key[:], boundTo("data key", org, id, digest))); err != nil {
		return nil, err
	}
	return key.Seal([]byte(s.Reveal()), boundTo("secret", org, id, digest)), nil
}

// unseal is the secret that k has now. It is domain.ErrNotRecoverable if the data key is gone, or was
// sealed by another keyring.
func (h *Handler) unseal(ctx context.Context, k domain.Key) (domain.Secret, error) {
	digest := k.Secrets[0].Digest
	sealed, err := h.dataKeys.DataKey(ctx, dataKeyRef(k.Org, k.ID, digest))
	if errors.Is(err, eventstore.ErrNoDataKey) {
		return domain.Secret{}, domain.ErrNotRecoverable
	}
	if err != nil {
		return domain.Secret{}, err
	}
	key, err := h.sealing.Open(sealed, boundTo("data key", k.Org, k.ID, digest))
	if err != nil {
		h.log.WarnContext(ctx, "a data key was sealed by another keyring", "key", k.ID)
		return domain.Secret{}, domain.ErrNotRecoverable
	}
	text, err := aead.Key(key).Open(k.Secrets[0].Sealed, boundTo("secret", k.Org, k.ID, digest))
	return domain.NewSecret(string(text)), err
}

// destroyTimeout is how long a command waits for the destruction of a data key.
const destroyTimeout = 2 * time.Second

// destroyDataKey destroys the data key of a secret whose end is on the ledger, whether or not the
// caller still waits.
func (h *Handler) destroyDataKey(ctx context.Context, k domain.Key, s domain.KeySecret) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), destroyTimeout)
	defer cancel()
	if err := h.dataKeys.DestroyDataKey(ctx, dataKeyRef(k.Org, k.ID, s.Digest)); err != nil {
		h.log.WarnContext(ctx, "data key not destroyed; the next pass tries again", "key", k.ID, "err", err)
	}
}
