package projections

import (
	"bytes"
	"slices"
	"time"

	"github.com/keytrail/keytrail/eventstore"
)

// The kinds of rows of the requests table: which request each Idempotency-Key came with,
// and a queue that tells the oldest.
const (
	rowRequest = 'r' // command id → fingerprint
	rowQueued  = 'q' // number → when it was stored, command id
	rowQueue   = 'n' // → numbers of the first that is queued and of the next to come
)

// keptFor is how long a request is found at least, by the times at which the ledger stored
// the records.
const keptFor = 48 * time.Hour

// A requestQueue is the requests that are found, in the order in which they came.
type requestQueue struct {
	rowMap
	first, next uint64
}

func applyRequests(r rowMap, records []eventstore.Record) error {
	keyed := slices.ContainsFunc(records, func(rec eventstore.Record) bool { return rec.Fingerprint != "" })
	if !keyed {
		return nil
	}
	q := requestQueue{rowMap: r}
	if _, err := r.get(row(rowQueue), func(v []byte) error {
		q.first, v = cutNumber(v)
		q.next, _ = cutNumber(v)
		return nil
	}); err != nil {
		return err
	}
	for i := range records {
		if records[i].Fingerprint == "" {
			continue
		}
		if err := q.add(&records[i]); err != nil {
			return err
		}
	}
	return r.set(row(rowQueue), append(number(q.first), number(q.next)...))
}

// add adds a request, of which a bulk one has many records, and takes out at most two that
// are too old: more than come in, and no more work than that.
func (q *requestQueue) add(record *eventstore.Record) error {
	key := row(rowRequest, []byte(record.Command.ID))
	known, err := q.get(key, func([]byte) error { return nil })
	if err != nil || known {
		return err
	}
	if err := q.set(key, []byte(record.Fingerprint)); err != nil {
		return err
	}
	if err := q.set(row(rowQueued, number(q.next)), append(moment(record.Stored), record.Command.ID...)); err != nil {
		return err
	}
	q.next++
	for range 2 {
		if old, err := q.dropOld(moment(record.Stored.Add(-keptFor))); err != nil || !old {
			return err
		}
	}
	return nil
}

// dropOld takes out the first request if it was stored before a moment.
func (q *requestQueue) dropOld(before []byte) (old bool, err error) {
	var key []byte
	if _, err := q.get(row(rowQueued, number(q.first)), func(v []byte) error {
		stored, id := v[:len(before)], v[len(before):]
		old = bytes.Compare(stored, before) < 0
		key = row(rowRequest, id)
		return nil
	}); err != nil || !old {
		return false, err
	}
	if err := q.delete(key); err != nil {
		return false, err
	}
	err = q.delete(row(rowQueued, number(q.first)))
	q.first++
	return true, err
}

// Request finds the fingerprint of the request that a command id came with, if it has come
// within two days.
func (s *Store) Request(commandID string) (fingerprint string, found bool, err error) {
	err = s.requests.read(func(r rows) (err error) {
		found, err = r.get(row(rowRequest, []byte(commandID)), func(v []byte) error {
			fingerprint = string(v)
			return nil
		})
		return err
	})
	return fingerprint, found, err
}
