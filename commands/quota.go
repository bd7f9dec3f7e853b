package commands

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// Quotas: how a bound on the number of keys holds, whatever happens at the same time. The
// steps of a creation, and what a crash leaves:
//
//  1. The key takes its place in each quota. A quota is an aggregate, and of all who take the
//     last place the ledger lets one. After a crash places are taken for a key that is not there.
//  2. The key is created, on the condition that its revision is the one that the places were
//     taken for. After a crash the key is there, and so are its places.
//
// A place is given back when a quota is full, or some time after it was left without a key:
// if the key is at its end or, for one that never came, after an event in the key's own history,
// which a creation that is late conflicts with. Such a creation takes a place again first.

// A QuotaIndex knows quotas without reading their histories, which can be long. The read model
// does. It may be behind the ledger.
type QuotaIndex interface {
	// Quota is a quota as of one of its events, with the places of keys that have one there, and some
	// others.
	Quota(org domain.OrgID, of domain.QuotaOf, keys ...domain.KeyID) (domain.Quota, eventstore.Position, error)
	// Freeable are some places that can perhaps be given back.
	Freeable(org domain.OrgID, of domain.QuotaOf, now time.Time, limit int) ([]domain.Hold, error)
	// Existing are keys that belong into a quota, whether they have a place there or not.
	Existing(org domain.OrgID, of domain.QuotaOf, now time.Time, limit int) ([]domain.KeyID, error)
	// Unplaced is how many live keys of an organization have no place in its plan's quota.
	Unplaced(domain.OrgID) (int, error)
	// Unused are places that were taken before a moment and have no key, the oldest first.
	Unused(before time.Time, limit int) ([]domain.Hold, error)
}

const (
	// maxExisting bounds the keys that were made before there was a bound and are looked at when the first place
	// is taken.
	maxExisting = 10_000
	// maxFreeable bounds the keys that are looked at when a quota is full.
	maxFreeable = 100
)

// A newKey is a key that is to be created, or imported.
type newKey struct {
	Request
	org      domain.OrgID
	keyspace *domain.Keyspace
	owner    string
	id       domain.KeyID
	decide   func(domain.Key, domain.KeyID) (domain.Event, error)
	finish   func(domain.Event, domain.KeyID) (domain.Event, error) // what is done for the event before it is appended; nil: nothing
}

// createWithin creates a key within the quotas of its keyspace.
func (h *Handler) createWithin(ctx context.Context, n newKey) (KeyResult, error) {
	decide := func(k domain.Key) (domain.Event, error) {
		event, err := n.decide(k, n.id)
		if err == nil && n.finish != nil {
			event, err = n.finish(event, n.id)
		}
		return event, err
	}
	quotas := h.quotasOf(n)
	if len(quotas) == 0 {
		return h.onNewKey(ctx, n.org, n.id, n.Request, decide)
	}
	_, refused := n.decide(domain.Key{}, n.id)
	if n.IfMatch != 0 {
		refused = domain.ErrRevisionStale
	}
	for at := eventstore.Position(0); ; {
		if refused == nil {
			refused = h.reserve(ctx, n.org, n.id, at, n.By, quotas)
		}
		if refused != nil { // unless it was carried out before
			return h.onKey(ctx, n.org, n.id, n.Request, func(domain.Key) (domain.Event, error) { return nil, refused })
		}
		result, err := h.createAt(ctx, n, at, decide)
		if errors.Is(err, domain.ErrRevisionStale) && ctx.Err() == nil {
			if _, at, err = h.loadKey(ctx, n.org, n.id); err == nil {
				continue // it was abandoned, and its places were given back
			}
		}
		if isRefusal(err) {
			h.giveBackUnneeded(ctx, n.org, n.id, quotas)
		}
		return result, err
	}
}

// quotasOf are those in which a new key takes a place: of its keyspace, and of its organization's plan.
func (h *Handler) quotasOf(n newKey) []domain.QuotaLimit {
	quotas := n.keyspace.Quotas(n.owner)
	if n.keyspace.Name == domain.ManagementKeyspace {
		return quotas
	}
	if q, bounded := h.plans.Plan(n.org).Quota(); bounded {
		quotas = append(quotas, q)
	}
	return quotas
}

// createAt creates a key whose last event, an abandonment, is at a position; 0: that has none.
func (h *Handler) createAt(ctx context.Context, n newKey, at eventstore.Position, decide func(domain.Key) (domain.Event, error)) (KeyResult, error) {
	if at != 0 {
		n.IfMatch = at
		return h.onKey(ctx, n.org, n.id, n.Request, decide)
	}
	return h.onNewKey(ctx, n.org, n.id, n.Request, func(k domain.Key) (domain.Event, error) {
		if k.State == domain.Absent && k.Abandoned {
			return nil, domain.ErrRevisionStale
		}
		return decide(k)
	})
}

// createOnly creates the one key of an owner. Its id follows from the owner and from how many
// reservations there were, so that there is another one after a key that is at its end.
func (h *Handler) createOnly(ctx context.Context, n newKey) (result KeyResult, err error) {
	decide := n.decide
	n.decide = func(k domain.Key, id domain.KeyID) (domain.Event, error) {
		if k.State != domain.Absent {
			return nil, domain.ErrOneKeyExists
		}
		return decide(k, id)
	}
	if _, err := n.decide(domain.Key{}, n.id); err != nil { // without an owner, for example
		return KeyResult{}, err
	}
	const attempts = 3 // another request is quicker at most once; then there is a key
	for range attempts {
		holder, err := h.nextHolder(ctx, &n)
		if err != nil {
			return KeyResult{}, err
		}
		if holder != "" {
			return h.onKey(ctx, n.org, holder, n.Request, func(domain.Key) (domain.Event, error) { return nil, domain.ErrOneKeyExists })
		}
		if result, err = h.createWithin(ctx, n); !errors.Is(err, domain.ErrOneKeyExists) {
			return result, err
		}
	}
	return result, domain.ErrOneKeyExists
}

// nextHolder sets the id of an owner's next key, unless there is one, which it gives.
func (h *Handler) nextHolder(ctx context.Context, n *newKey) (domain.KeyID, error) {
	of := n.keyspace.Quotas(n.owner)[0].QuotaOf
	q, err := h.quota(ctx, n.org, of, nil)
	if err != nil {
		return "", err
	}
	last := domain.OneKeyID(n.org, of.Keyspace, n.owner, q.Reserved)
	if repeated, err := h.carriedOut(ctx, n.org, last, n.Request); repeated || err != nil {
		return last, err // it is at its end, perhaps
	}
	n.id = domain.OneKeyID(n.org, of.Keyspace, n.owner, q.Reserved+1)
	var ended []domain.Hold
	for id, revision := range q.Holds {
		k, at, err := h.loadKey(ctx, n.org, id)
		switch {
		case err != nil:
			return "", err
		case at == 0 && id == last:
			n.id = id // it is being created, or was left behind
		case k.State != domain.Absent && !k.AtEnd(h.now()):
			return id, nil
		default:
			ended = append(ended, domain.Hold{Org: n.org, QuotaOf: of, Key: id, Revision: revision})
		}
	}
	return "", h.giveBack(ctx, n.org, of, ended)
}

// carriedOut reports whether a key's history has the command of a request.
func (h *Handler) carriedOut(ctx context.Context, org domain.OrgID, id domain.KeyID, r Request) (bool, error) {
	var search historySearch
	_, err := h.ledger.Load(ctx, eventstore.KeyRef(org, id), 0, func(record eventstore.Record) { search.visit(record.Command, r) })
	return search.found, err
}

// reserve takes a place for a key in each of some quotas, for its revision at.
func (h *Handler) reserve(ctx context.Context, org domain.OrgID, key domain.KeyID, at eventstore.Position, by domain.Principal, quotas []domain.QuotaLimit) error {
	for i, q := range quotas {
		if err := h.reserveIn(ctx, org, domain.ReserveKey{QuotaLimit: q, Key: key, Revision: uint64(at), By: by}); err != nil {
			if isRefusal(err) {
				h.giveBackUnneeded(ctx, org, key, quotas[:i])
			}
			return err
		}
	}
	return nil
}

// reserveIn takes a place in one quota. If that is full, places that are not needed any more are
// given back first.
func (h *Handler) reserveIn(ctx context.Context, org domain.OrgID, c domain.ReserveKey) error {
	unlock, err := h.reserving.lock(ctx, eventstore.QuotaRef(org, c.QuotaOf))
	if err != nil {
		return err
	}
	defer unlock()
	const attempts = 3 // another node may take what was given back
	for attempt := 1; ; attempt++ {
		var held []domain.Hold
		_, err := h.onQuota(ctx, org, c.QuotaOf, []domain.KeyID{c.Key}, func(q domain.Quota) (_ domain.Event, err error) {
			if h.quotas != nil && c.OfPlan() {
				if c.Unplaced, err = h.quotas.Unplaced(org); err != nil {
					return nil, err
				}
			} else if h.quotas != nil && q.Reserved == 0 {
				if c.Existing, err = h.quotas.Existing(org, c.QuotaOf, h.now(), min(c.Limit, maxExisting)); err != nil {
					return nil, err
				}
			}
			held = holdsOf(org, c.QuotaOf, q)
			c.At = h.now()
			return q.Reserve(c)
		})
		if !isRefusal(err) || attempt == attempts {
			return err
		}
		if h.quotas != nil {
			if held, err = h.quotas.Freeable(org, c.QuotaOf, h.now(), maxFreeable); err != nil {
				return err
			}
		}
		if err := h.giveBack(ctx, org, c.QuotaOf, held); err != nil {
			return err
		}
	}
}

func holdsOf(org domain.OrgID, of domain.QuotaOf, q domain.Quota) (all []domain.Hold) {
	for id, revision := range q.Holds {
		all = append(all, domain.Hold{Org: org, QuotaOf: of, Key: id, Revision: revision})
	}
	return all
}

// giveBackUnneeded gives back the places that a key has in some quotas and does not need. If
// that fails, the pass over unused places does it later.
func (h *Handler) giveBackUnneeded(ctx context.Context, org domain.OrgID, key domain.KeyID, quotas []domain.QuotaLimit) {
	for _, of := range quotas {
		q, err := h.quota(ctx, org, of.QuotaOf, []domain.KeyID{key})
		if revision, held := q.Holds[key]; err == nil && held {
			err = h.giveBack(ctx, org, of.QuotaOf, []domain.Hold{{Org: org, QuotaOf: of.QuotaOf, Key: key, Revision: revision}})
		}
		if err != nil && ctx.Err() == nil {
			h.log.WarnContext(ctx, "a place in a quota was not given back; a pass will do it", "key", key, "err", err)
		}
	}
}

// giveBack gives back those of some places in a quota that are not needed any more, with one event.
func (h *Handler) giveBack(ctx context.Context, org domain.OrgID, of domain.QuotaOf, holds []domain.Hold) error {
	var free []domain.Hold
	var keys []domain.KeyID
	for _, hold := range holds {
		unneeded, err := h.unneeded(ctx, hold)
		if err != nil {
			return err
		}
		if unneeded {
			free, keys = append(free, hold), append(keys, hold.Key)
		}
	}
	if len(free) == 0 {
		return nil
	}
	_, err := h.onQuota(ctx, org, of, keys, func(q domain.Quota) (domain.Event, error) {
		return q.Release(domain.ReleaseKeys{QuotaOf: of, Holds: free, At: h.now()})
	})
	return err
}

// unneeded reports whether the key of a place is at its end, or can not become one of the quota's
// by what was decided on that place. To that end it fences the key if it must.
func (h *Handler) unneeded(ctx context.Context, hold domain.Hold) (bool, error) {
	if k, _, found := h.knownKey(hold.Org, hold.Key); found && k.State == domain.Revoked {
		return true, nil // which is final
	}
	k, at, err := h.loadKey(ctx, hold.Org, hold.Key)
	switch {
	case err != nil:
		return false, err
	case k.AtEnd(h.now()):
		return true, nil
	case hold.Has(&k):
		return false, nil
	case uint64(at) > hold.Revision:
		return true, nil
	}
	command := eventstore.Command{ID: uuid.NewString(), Actor: domain.System.ID}
	_, err = h.ledger.Append(ctx, eventstore.KeyRef(hold.Org, hold.Key), at, command, k.Fence(hold.Key, h.now()))
	if eventstore.FailureOf(err) == eventstore.Conflict {
		return false, nil // it came after all
	}
	return err == nil, err
}

// loadKey is a key as the ledger has it, and its last event's position.
func (h *Handler) loadKey(ctx context.Context, org domain.OrgID, id domain.KeyID) (k domain.Key, at eventstore.Position, err error) {
	at, err = h.ledger.Load(ctx, eventstore.KeyRef(org, id), 0, func(r eventstore.Record) { k.Apply(r.Event) })
	return k, at, err
}

// quota is a quota as the ledger has it, with the places of some keys.
func (h *Handler) quota(ctx context.Context, org domain.OrgID, of domain.QuotaOf, keys []domain.KeyID) (domain.Quota, error) {
	return h.onQuota(ctx, org, of, keys, func(domain.Quota) (domain.Event, error) { return nil, nil })
}

// onQuota carries out a command on a quota and the places of some keys in it.
func (h *Handler) onQuota(ctx context.Context, org domain.OrgID, of domain.QuotaOf, keys []domain.KeyID, decide func(domain.Quota) (domain.Event, error)) (domain.Quota, error) {
	var known *assumption[domain.Quota]
	if h.quotas != nil {
		q, at, err := h.quotas.Quota(org, of, keys...)
		if err != nil {
			return q, err
		}
		known = &assumption[domain.Quota]{state: q, position: at, base: true}
	}
	r, err := execute(ctx, h, eventstore.QuotaRef(org, of), Request{By: domain.System}, known, decide)
	return r.state, err
}

// isRefusal reports whether nothing was written, and would not be if it was tried again.
func isRefusal(err error) bool {
	var refused *domain.Error
	return errors.As(err, &refused) && refused.Final()
}

// quotaLocks let one goroutine of a process at a time take a place in a quota: others would
// conflict with it. The zero value is usable.
type quotaLocks struct {
	mu    sync.Mutex
	locks map[eventstore.Ref]*quotaLock
}

type quotaLock struct {
	slot  chan struct{} // of capacity 1
	users int           // that have it or wait for it
}

// lock waits for the lock of a quota, until ctx or eventstore.Deadline ends.
func (l *quotaLocks) lock(ctx context.Context, ref eventstore.Ref) (unlock func(), err error) {
	l.mu.Lock()
	if l.locks == nil {
		l.locks = map[eventstore.Ref]*quotaLock{}
	}
	q := l.locks[ref]
	if q == nil {
		q = &quotaLock{slot: make(chan struct{}, 1)}
		l.locks[ref] = q
	}
	q.users++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if q.users--; q.users == 0 {
			delete(l.locks, ref)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, eventstore.Deadline)
	defer cancel()
	select {
	case q.slot <- struct{}{}:
		return func() { <-q.slot; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, domain.ErrKeyBusy
	}
}
