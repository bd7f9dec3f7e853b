package commands

import "github.com/keytrail/keytrail/domain"

// A KeyspaceIndex has the keyspaces of the installation. The read model does. Another node may
// know of a change some milliseconds earlier.
type KeyspaceIndex interface{ Keyspaces() *domain.Keyspaces }

// builtIn is the index of a handler without one.
type builtIn struct{ all *domain.Keyspaces }

func (b builtIn) Keyspaces() *domain.Keyspaces { return b.all }

// newKeysIn finds the keyspace of a key that is to be made.
func (h *Handler) newKeysIn(name string) (*domain.Keyspace, error) {
	k, err := h.keyspaces.Keyspaces().Named(name)
	if err == nil && k.Retired() {
		err = domain.ErrKeyspaceRetired
	}
	return k, err
}
