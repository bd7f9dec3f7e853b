package projections

import (
	"bytes"
	"encoding/binary"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/eventstore"
)

// The kinds of rows of the requests table: which request each Idempotency-Key came with,
// and a queue that tells the oldest.
const (
	rowRequest = 'r' // command id → when it was stored, fingerprint
	rowQueued  = 'q' // number → command id
	rowQueue   = 'n' // → numbers of the first that is queued and of the next to come
)

// keptFor is how long a request is found at least, by the times at which the ledger stored
// the records.
const keptFor = 48 * time.Hour

func applyRequests(r rows, records []eventstore.Record) error {
	for i := range records {
		if records[i].Fingerprint == "" {
			continue
		}
		if err := applyRequest(r, &records[i]); err != nil {
			return err
		}
	}
	return nil
}

// applyRequest adds a request, of which a bulk one has many records, and takes out at most
// two that are too old: more than come in, and no more work than that.
func applyRequest(r rows, record *eventstore.Record) error {
	key := row(rowRequest, []byte(record.Command.ID))
	known, err := r.get(key, func([]byte) error { return nil })
	if err != nil || known {
		return err
	}
	first, next, err := loadQueue(r)
	if err != nil {
		return err
	}
	if err := r.set(key, append(moment(record.Stored), record.Fingerprint...)); err != nil {
		return err
	}
	if err := r.set(row(rowQueued, number(next)), []byte(record.Command.ID)); err != nil {
		return err
	}
	for range 2 {
		old, err := dropOld(r, first, record.Stored.Add(-keptFor))
		if err != nil {
			return err
		}
		if !old {
			break
		}
		first++
	}
	return r.set(row(rowQueue), append(number(first), number(next+1)...))
}

func loadQueue(r rows) (first, next uint64, err error) {
	_, err = r.get(row(rowQueue), func(v []byte) error {
		first, next = binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:])
		return nil
	})
	return first, next, err
}

// dropOld takes out the n-th request if it was stored before a moment.
func dropOld(r rows, n uint64, before time.Time) (old bool, err error) {
	var key []byte
	if _, err := r.get(row(rowQueued, number(n)), func(v []byte) error {
		key = row(rowRequest, v)
		return nil
	}); err != nil || key == nil {
		return false, err
	}
	if _, err := r.get(key, func(v []byte) error {
		old = bytes.Compare(v[:8], moment(before)) < 0
		return nil
	}); err != nil || !old {
		return false, err
	}
	if err := r.delete(key); err != nil {
		return false, err
	}
	return true, r.delete(row(rowQueued, number(n)))
}

// Request finds the fingerprint of the request that a command id came with, if it has come
// within two days.
func (s *Store) Request(commandID string) (fingerprint string, found bool, err error) {
	r := s.runner("requests")
	err = s.groups[r.stream].snapshot.view(func(tx *badger.Txn) (err error) {
		found, err = rows{tx: tx, table: r.currentTable()}.get(row(rowRequest, []byte(commandID)), func(v []byte) error {
			fingerprint = string(v[8:])
			return nil
		})
		return err
	})
	return fingerprint, found, err
}
