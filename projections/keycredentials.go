package projections

import (
	"slices"

	"github.com/keytrail/keytrail/domain"
)

// moveCredentials brings the credential rows of a key's secrets in line with its state.
// Secrets that the key has forgotten lose theirs.
func moveCredentials(r rows, before, after domain.Key) error {
	for _, s := range after.Secrets {
		if err := putCredential(r, s.Digest, after.ID, encodeCredential(after, s)); err != nil {
			return err
		}
	}
	for _, s := range before.Secrets {
		if !slices.ContainsFunc(after.Secrets, func(t domain.KeySecret) bool { return t.Digest == s.Digest }) {
			if err := putCredential(r, s.Digest, after.ID, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// putCredential puts entry in the place of the key's old one, or last; nil takes it out.
func putCredential(r rows, d domain.Digest, id domain.KeyID, entry []byte) error {
	key, bits := row(rowCredential, d[:]), id.Bytes()
	var list []byte
	placed := entry == nil
	if _, err := r.get(key, func(v []byte) error {
		for len(v) > 0 {
			var e []byte
			if e, v = cutEntry(v); string(e[:16]) != string(bits[:]) {
				list = appendEntry(list, e)
			} else if entry != nil {
				list, placed = appendEntry(list, entry), true
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if !placed {
		list = appendEntry(list, entry)
	}
	return setCredentials(r, d, list)
}

// setCredentials makes list the row of d, or takes it away if there is none.
func setCredentials(r rows, d domain.Digest, list []byte) error {
	if r.changed != nil {
		*r.changed = append(*r.changed, d)
	}
	if len(list) == 0 {
		return r.delete(row(rowCredential, d[:]))
	}
	return r.set(row(rowCredential, d[:]), list)
}
