package eventstore

import (
	"context"
	"errors"

	"github.com/keytrail/keytrail/domain"
)

// Messages calls handle with the messages of s after a position up to upto, that one included, in
// order: those of events of an organization, and of uses all that may have some of it; "": all. A
// message is good until handle returns.
func (t *Trail) Messages(ctx context.Context, s Stream, org domain.OrgID, after, upto Position, handle func(*Raw) error) error {
	switch {
	case after >= upto:
		return nil
	case org == "" || s == Uses && t.index == nil:
		return t.ledger.Copy(ctx, s, after, upto, handle)
	case s == Events:
		q := Query{Stream: s, Reach: domain.Only(org), After: after, Upto: upto, Max: readAtOnce[s], Prefetch: prefetch[s]}
		return t.readAll(ctx, q, func(b Batch) error {
			for i := range b.Messages {
				if err := handle(&b.Messages[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	indexed := min(upto, t.index.Indexed(s))
	err := t.index.Uses(ctx, UseQuery{Org: org, After: after, Upto: indexed}, func(m *Raw) (bool, error) { return true, handle(m) })
	if err != nil || indexed >= upto {
		return err
	}
	return t.ledger.Copy(ctx, s, max(after, indexed), upto, handle)
}

// OrgOf is the organization that an event belongs to, by the subject of its message; "": it is no
// event's.
func OrgOf(subject string) domain.OrgID {
	org, _ := readSubject(subject)
	return org
}

// UseOrg is the organization that a use belongs to, by its line.
func UseOrg(line string) (domain.OrgID, error) {
	var u useLine
	_, err := u.read(line, nil, nil)
	if err == nil && u.Org == "" {
		err = errors.New("the use has no organization")
	}
	return u.Org, err
}
