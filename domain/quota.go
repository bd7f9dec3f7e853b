package domain

import (
	"slices"
	"time"
)

// A QuotaOf names a quota: that of an owner, or of a whole organization, for the keys of one
// keyspace; or that of an organization's plan, for those of all products.
type QuotaOf struct {
	Keyspace string  `json:"keyspace,omitempty"` // "": the plan's
	Owner    *string `json:"owner,omitempty"`    // nil: the organization's; "": that of keys without an owner
}

// ID is the id of the quota's aggregate in an organization. An owner is any text, so its id stands for it.
func (q QuotaOf) ID(org OrgID) string {
	if q.OfPlan() {
		return "_plan" // which is no name of a keyspace
	}
	if q.Owner == nil {
		return q.Keyspace
	}
	return q.Keyspace + "." + string(NewOwnerID(org, *q.Owner))
}

// OfPlan reports whether it is the quota of an organization's plan.
func (q QuotaOf) OfPlan() bool { return q.Keyspace == "" }

// Has reports whether a key takes a place of the quota as long as it is not at its end.
func (q QuotaOf) Has(k *Key) bool {
	if q.OfPlan() {
		return k.State != Absent && k.Keyspace != ManagementKeyspace
	}
	return k.State != Absent && k.Keyspace == q.Keyspace && (q.Owner == nil || *q.Owner == k.Owner)
}

// A QuotaLimit is how many keys a quota has at most.
type QuotaLimit struct {
	QuotaOf
	Limit int
	One   bool   // it is the owner's one key
	Plan  string // whose quota it is; "": it is one of a keyspace
}

// A Hold is a place that a key has in a quota.
type Hold struct {
	Org OrgID
	QuotaOf
	Key      KeyID
	Revision uint64
}

// Quotas are those in which a key of an owner takes a place.
func (k *Keyspace) Quotas(owner string) (all []QuotaLimit) {
	switch b := k.Bounds; {
	case b.OneKeyPerOwner:
		all = append(all, QuotaLimit{QuotaOf: QuotaOf{k.Name, &owner}, Limit: 1, One: true})
	case b.KeysPerOwner > 0:
		all = append(all, QuotaLimit{QuotaOf: QuotaOf{k.Name, &owner}, Limit: b.KeysPerOwner})
	}
	if k.Bounds.KeysPerOrganization > 0 {
		all = append(all, QuotaLimit{QuotaOf: QuotaOf{Keyspace: k.Name}, Limit: k.Bounds.KeysPerOrganization})
	}
	return all
}

// OneKeyID is the id of the n-th key of an owner in a keyspace that gives each owner one.
func OneKeyID(org OrgID, keyspace, owner string, n int) KeyID {
	return KeyID(newID(keyPrefix, "one", string(org), keyspace, owner, itoa(n)))
}

// A Quota is the places that keys have taken. A key takes its place before it is created, and
// it is given back when the key is at its end, or cannot come any more: so there are never
// more keys than places.
type Quota struct {
	Held     int              // places taken
	Reserved int              // reservations so far
	Holds    map[KeyID]uint64 // the revision that each reservation is for; of some keys, if Quota is not made of the whole history
}

// QuotaReserved took a place for a key whose revision is Revision, 0: without history. Only
// an event right after that can make the key one of the quota's.
type QuotaReserved struct {
	QuotaOf
	Key      KeyID   `json:"key_id"`
	Revision uint64  `json:"revision,omitempty"`
	Again    bool    `json:"again,omitempty"`            // the key had the place already, for another revision
	Existing []KeyID `json:"existing_key_ids,omitempty"` // of the first reservation: the keys from before there was a bound
	Header
}

// QuotaReleased gave the places of keys back.
type QuotaReleased struct {
	QuotaOf
	Keys []KeyID `json:"key_ids"`
	Header
}

// ReserveKey asks for a place.
type ReserveKey struct {
	QuotaLimit
	Key      KeyID
	Revision uint64
	Existing []KeyID // for the first reservation
	Unplaced int     // live keys without a place; of a plan's quota
	At       time.Time
	By       Principal
}

// maxAdopted is how many keys from before there was a bound an event gives places: 33 bytes each, within the 63
// KiB of an event. The others do not count, once there are fewer than the bound.
const maxAdopted = 1800

// Reserve decides whether there is a place left.
func (q Quota) Reserve(c ReserveKey) (Event, error) {
	e := QuotaReserved{QuotaOf: c.QuotaOf, Key: c.Key, Revision: c.Revision, Header: Header{c.At, c.By.ID}}
	var revision uint64
	if revision, e.Again = q.Holds[c.Key]; e.Again && revision == c.Revision {
		return nil, nil
	}
	taken := q.Held + c.Unplaced
	if q.Reserved == 0 && !c.OfPlan() {
		e.Existing = slices.DeleteFunc(slices.Clone(c.Existing), func(id KeyID) bool { return id == c.Key })
		taken = len(e.Existing)
		e.Existing = e.Existing[:min(taken, maxAdopted)]
	}
	if !e.Again && taken >= c.Limit {
		return nil, KeyLimitReached(c.QuotaLimit)
	}
	return e, nil
}

// ReleaseKeys asks to give places back, each if its reservation is still the same.
type ReleaseKeys struct {
	QuotaOf
	Holds []Hold
	At    time.Time
}

// Release decides which of the places are there to be given back.
func (q Quota) Release(c ReleaseKeys) (Event, error) {
	e := QuotaReleased{QuotaOf: c.QuotaOf, Header: Header{At: c.At, By: System.ID}}
	for _, h := range c.Holds {
		if revision, held := q.Holds[h.Key]; held && revision == h.Revision {
			e.Keys = append(e.Keys, h.Key)
		}
	}
	if len(e.Keys) == 0 {
		return nil, nil
	}
	return e, nil
}

// Apply moves q past e. It cannot fail and must not judge: e already happened.
func (q *Quota) Apply(e Event) {
	if q.Holds == nil {
		q.Holds = map[KeyID]uint64{}
	}
	switch e := e.(type) {
	case QuotaReserved:
		for _, id := range e.Existing {
			q.Holds[id] = 0
		}
		q.Holds[e.Key] = e.Revision
		q.Reserved++
		q.Held += len(e.Existing)
		if !e.Again {
			q.Held++
		}
	case QuotaReleased:
		for _, id := range e.Keys {
			delete(q.Holds, id)
		}
		q.Held -= len(e.Keys)
	}
}
