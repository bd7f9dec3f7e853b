package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/projections"
)

// AtParam names a past moment.
type AtParam struct {
	At string `query:"at" maxLength:"40" doc:"As it was when the ledger had come to this position, or at this time, like 2026-01-31T12:00:00Z. It takes the scope audit:read, too."`
}

// A moment is a place in the ledger, and what the clock said there. For a position it is the time of
// its event, by which its node decided; a time finds the last event that was stored by then, by the
// clock of the server that stores, and is itself what expiries are held to.
type moment struct {
	Position eventstore.Position `json:"position"`
	Time     time.Time           `json:"time,omitzero" doc:"Of the position 0, which is before the first event, there is none."`
}

var (
	errAt       = domain.InvalidField("at", "must be a position of the ledger, or a time like 2026-01-31T12:00:00Z")
	errAtBeyond = domain.InvalidField("at", "the ledger has no such position yet")
	errAtFuture = domain.InvalidField("at", "must not be in the future")
)

// momentOf reads which moment a caller means, and waits until the read model has come to it. What
// keys were like is told by the trail: the caller must be one that may read that.
func (s *server) momentOf(ctx context.Context, p domain.Principal, at string) (m moment, err error) {
	if err := p.Demand(auditScope); err != nil {
		return m, err
	}
	if position, err := strconv.ParseUint(at, 10, 64); err == nil {
		m, err = s.momentAtPosition(ctx, eventstore.Position(position))
		if err != nil {
			return m, err
		}
	} else if m, err = s.momentAtTime(ctx, at); err != nil {
		return m, err
	}
	return m, s.waitFor(ctx, m.Position)
}

func (s *server) momentAtPosition(ctx context.Context, p eventstore.Position) (moment, error) {
	if p == 0 {
		return moment{}, nil
	}
	at, err := s.Ledger.HappenedAt(ctx, p)
	if errors.Is(err, eventstore.ErrNoSuchPosition) {
		err = errAtBeyond
	}
	return moment{p, at}, err
}

func (s *server) momentAtTime(ctx context.Context, text string) (moment, error) {
	at, err := time.Parse(time.RFC3339, text)
	switch {
	case err != nil:
		return moment{}, errAt
	case at.After(s.Now()):
		return moment{}, errAtFuture
	}
	position, err := s.Ledger.PositionAt(ctx, at)
	return moment{position, at.UTC()}, err
}

// readFormer puts on the trail that the caller asks for a past moment.
func (s *server) readFormer(ctx context.Context, p domain.Principal, m moment, filter map[string]string) error {
	return s.readTrail(ctx, p, commands.ReadTrail{Access: domain.AccessState, Filter: filter, From: m.Time, To: m.Time})
}

func (s *server) readFormerKey(ctx context.Context, p domain.Principal, in *readKeyRequest) (*keyAnswer, error) {
	id, err := domain.ParseKeyID(in.ID)
	if err != nil {
		return nil, err
	}
	m, err := s.momentOf(ctx, p, in.At)
	if err == nil {
		err = s.readFormer(ctx, p, m, map[string]string{"key_id": in.ID})
	}
	if err != nil {
		return nil, err
	}
	k, err := s.Store.KeyAt(p.Reach(), id, m.Position)
	if err != nil {
		return nil, err
	}
	return &keyAnswer{etag(k.Revision), uint64(m.Position), showKeyAt(k, m.Time)}, nil
}

// listFormerKeys lists q as it was.
func (s *server) listFormerKeys(ctx context.Context, p domain.Principal, in *listKeysRequest, q projections.KeyQuery) (*keyPage, error) {
	if err := in.refuseFormer(); err != nil {
		return nil, err
	}
	release, err := s.admission.acquireFor(ctx, &s.admission.pages, p.Org)
	if err != nil {
		return nil, err
	}
	defer release()
	m, err := s.momentOf(ctx, p, in.At)
	if err == nil {
		err = s.readFormer(ctx, p, m, in.KeyFilter.asText())
	}
	if err != nil {
		return nil, err
	}
	q.At, q.Now = &m.Position, m.Time
	found, err := s.Store.Keys(q)
	if err != nil {
		return nil, err
	}
	page := &keyPage{}
	page.Body.Items = make([]Key, len(found.Keys))
	for i, k := range found.Keys {
		page.Body.Items[i] = showKeyAt(k, m.Time)
	}
	page.Body.At, page.Body.NextCursor = &m, cursorOrNull(found.NextCursor)
	return page, nil
}

// refuseFormer refuses what is not known of a past moment: when keys were used, and what their
// keyspaces said.
func (in *listKeysRequest) refuseFormer() error {
	switch {
	case !in.LastUsedBefore.IsZero():
		return domain.InvalidField("last_used_before", "cannot be asked of a past moment; the trail has each use: GET /v1/events?type=key.used")
	case in.RotationDue:
		return domain.InvalidField("rotation_due", "cannot be asked of a past moment, at which the keyspace may have said otherwise")
	case in.Sort == "last_used_at" || in.Sort == "-last_used_at":
		return domain.InvalidField("sort", "must be created_at, name or expires_at for a past moment")
	}
	return nil
}

// asText are the members that were given, as the trail has them.
func (f KeyFilter) asText() map[string]string {
	var members map[string]any
	b, err := json.Marshal(f)
	if err == nil {
		err = json.Unmarshal(b, &members)
	}
	if err != nil {
		panic(err) // texts and times alone
	}
	text := map[string]string{}
	for name, value := range members {
		text[name] = fmt.Sprint(value)
	}
	return text
}
