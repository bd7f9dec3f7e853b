package projections

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// The kinds of rows of the log_ins table: what is known of failed attempts to log in, and a queue of
// it that tells the oldest.
const (
	rowBackoff        = 'b' // id → failures, time of the last
	rowKnownAddresses = 'k' // user → addresses
	rowBackoffQueued  = 'q' // number → when it was stored, id
	rowBackoffQueue   = 'n' // → numbers of the first that is queued and of the next to come
)

func applyLogIns(r rowMap, records []eventstore.Record) error {
	for i := range records {
		if err := applyLogIn(r, &records[i]); err != nil {
			return err
		}
	}
	return nil
}

func applyLogIn(r rowMap, record *eventstore.Record) error {
	switch e := record.Event.(type) {
	case domain.LogInRefused:
		return addFailures(r, e, record.Stored)
	case domain.SessionCreated:
		if e.Method == domain.ByPassword && e.Switched == "" {
			return addKnownAddress(r, e.User, e.IP)
		}
	case domain.PasswordChanged: // by a reset: who has the user's mailbox is the user
		return addKnownAddress(r, domain.UserID(record.Subject), e.IP)
	case domain.UserRemoved:
		return r.delete(knownAddressesRow(domain.UserID(record.Subject)))
	}
	return nil
}

// addKnownAddress makes an address one that a user logged in from, and ends the back-off that they had
// there. text is "" or no address if it is not known.
func addKnownAddress(r rowMap, u domain.UserID, text string) error {
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return nil
	}
	address := domain.LogInAddress(ip)
	known, err := loadKnownAddresses(r, u)
	if err != nil {
		return err
	}
	if err := r.delete(backoffRow(domain.OfKnown(u, address))); err != nil {
		return err
	}
	return setJSON(r, knownAddressesRow(u), nil, known.With(address))
}

func backoffRow(id domain.BackoffID) []byte { return row(rowBackoff, []byte(id)) }

func knownAddressesRow(u domain.UserID) []byte { b := u.Bytes(); return row(rowKnownAddresses, b[:]) }

func loadKnownAddresses(r rowMap, u domain.UserID) (known domain.KnownAddresses, err error) {
	_, err = r.get(knownAddressesRow(u), func(v []byte) error { return json.Unmarshal(v, &known) })
	return known, err
}

func loadBackoff(r rowMap, id domain.BackoffID) (b domain.Backoff, err error) {
	_, err = r.get(backoffRow(id), func(v []byte) error {
		n, v := cutNumber(v)
		b.Failures = int(n)
		return b.Last.UnmarshalBinary(v)
	})
	return b, err
}

// addFailures adds what an event says, and takes out twice as many rows whose last failure
// is forgotten: more than come in.
func addFailures(r rowMap, e domain.LogInRefused, stored time.Time) error {
	all := e.Failures()
	q, err := loadBackoffQueue(r)
	for _, id := range slices.Sorted(maps.Keys(all)) { // every node writes the same rows
		if err == nil {
			err = q.add(id, all[id], stored)
		}
	}
	for range 2 * len(all) {
		if err == nil {
			err = q.dropForgotten(stored)
		}
	}
	if err != nil {
		return err
	}
	return r.set(row(rowBackoffQueue), append(number(q.first), number(q.next)...))
}

// A backoffQueue is the rows of back-offs in the order in which they were written, with each as often
// as it was.
type backoffQueue struct {
	rowMap
	first, next uint64
}

func loadBackoffQueue(r rowMap) (q backoffQueue, err error) {
	q.rowMap = r
	_, err = r.get(row(rowBackoffQueue), func(v []byte) error {
		q.first, v = cutNumber(v)
		q.next, _ = cutNumber(v)
		return nil
	})
	return q, err
}

func (q *backoffQueue) add(id domain.BackoffID, more domain.Backoff, stored time.Time) error {
	b, err := loadBackoff(q, id)
	if err != nil {
		return err
	}
	b = b.Plus(more)
	last, err := b.Last.MarshalBinary()
	if err != nil {
		return err
	}
	if err := q.set(row(rowBackoffQueued, number(q.next)), append(moment(stored), id...)); err != nil {
		return err
	}
	q.next++
	return q.set(backoffRow(id), append(number(uint64(b.Failures)), last...))
}

// dropForgotten takes the first out of the queue if it is old, and its row, if that did not change
// since.
func (q *backoffQueue) dropForgotten(now time.Time) error {
	var id domain.BackoffID
	found, err := q.get(row(rowBackoffQueued, number(q.first)), func(v []byte) error {
		old := domain.Backoff{Last: now.Add(-domain.BackoffMemory)}
		if size := len(moment(now)); bytes.Compare(v[:size], moment(old.Last)) <= 0 {
			id = domain.BackoffID(v[size:])
		}
		return nil
	})
	if err != nil || !found || id == "" {
		return err
	}
	b, err := loadBackoff(q, id)
	if err == nil && b.Forgotten(now) {
		err = q.delete(backoffRow(id))
	}
	q.first++
	return errors.Join(err, q.delete(row(rowBackoffQueued, number(q.first-1))))
}

// Backoff is what the ledger knows of an account, of an address, or of both.
func (s *Store) Backoff(id domain.BackoffID) (b domain.Backoff, err error) {
	err = s.logIns.read(func(r rows) (err error) {
		b, err = loadBackoff(r, id)
		return err
	})
	return b, err
}

// KnownAddresses are those from where a user logged in with their password.
func (s *Store) KnownAddresses(u domain.UserID) (known domain.KnownAddresses, err error) {
	err = s.logIns.read(func(r rows) (err error) {
		known, err = loadKnownAddresses(r, u)
		return err
	})
	return known, err
}
