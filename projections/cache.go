package projections

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/keytrail/keytrail/domain"
)

// A cache holds credentials that were looked up of late. A digest is as good as random, so
// it names the one place where its credentials may be, and whoever comes later takes it.
//
// What is in it is what the snapshot says: credentials are put in while the snapshot is
// held, and those that changed are taken out before it moves on.
type cache struct {
	places [1 << 18]atomic.Pointer[cached]
}

// cached is all credentials of one digest; nobody may change them.
type cached struct {
	digest domain.Digest
	all    []Credential
}

func (c *cache) place(d *domain.Digest) *atomic.Pointer[cached] {
	return &c.places[binary.BigEndian.Uint64(d[:])%uint64(len(c.places))]
}

// find gives the credentials of d, nil if they are not here.
func (c *cache) find(d *domain.Digest) []Credential {
	if found := c.place(d).Load(); found != nil && found.digest == *d {
		return found.all
	}
	return nil
}

func (c *cache) put(d *domain.Digest, all []Credential) { c.place(d).Store(&cached{*d, all}) }

func (c *cache) forget(changed []domain.Digest) {
	for i := range changed {
		c.place(&changed[i]).Store(nil)
	}
}

func (c *cache) forgetAll() {
	for i := range c.places {
		c.places[i].Store(nil)
	}
}
