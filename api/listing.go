package api

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/projections"
)

// KeyFilter is what keys can be listed, and revoked, by. In a query and in a body its
// members have the same names.
type KeyFilter struct {
	Org            string    `query:"org_id" json:"org_id,omitempty"`
	Keyspace       string    `query:"keyspace" json:"keyspace,omitempty"`
	Status         keyStatus `query:"status" json:"status,omitempty"`
	Owner          string    `query:"owner" json:"owner,omitempty" maxLength:"200"`
	Scope          string    `query:"scope" json:"scope,omitempty" maxLength:"100" doc:"Listed on the key exactly so."`
	Name           string    `query:"name" json:"name,omitempty" maxLength:"200" doc:"The name begins with it."`
	Prefix         string    `query:"prefix" json:"prefix,omitempty" maxLength:"32" doc:"The prefix of a secret begins with it."`
	CreatedAfter   time.Time `query:"created_after" json:"created_after,omitzero"`
	LastUsedBefore time.Time `query:"last_used_before" json:"last_used_before,omitzero" doc:"Keys that were used, but not since."`
	ExpiresBefore  time.Time `query:"expires_before" json:"expires_before,omitzero"`
	NeverRotated   bool      `query:"never_rotated" json:"never_rotated,omitempty" doc:"Keys that still have their first secret."`
	RotationDue    bool      `query:"rotation_due" json:"rotation_due,omitempty" doc:"Keys whose newest secret is older than rotate_after of their keyspace."`
}

// keyQuery is the filter as the read model takes it, within the caller's reach.
func (s *server) keyQuery(p domain.Principal, f KeyFilter) (q projections.KeyQuery, err error) {
	q = projections.KeyQuery{Keyspace: f.Keyspace, Owner: f.Owner, Scope: f.Scope, Name: f.Name, Prefix: f.Prefix, CreatedAfter: f.CreatedAfter,
		LastUsedBefore: f.LastUsedBefore, ExpiresBefore: f.ExpiresBefore, NeverRotated: f.NeverRotated, RotationDue: f.RotationDue, Now: s.Now()}
	if q.Reach, err = reachOf(p, f.Org); err != nil {
		return q, err
	}
	if f.Keyspace != "" {
		if _, err := s.Store.Keyspaces().Named(f.Keyspace); err != nil {
			return q, err
		}
	}
	if f.Status != "" {
		if q.Status, err = domain.ParseState(string(f.Status)); err != nil {
			return q, err
		}
	}
	for _, p := range [][2]string{{"owner", f.Owner}, {"scope", f.Scope}, {"name", f.Name}, {"prefix", f.Prefix}} {
		if strings.ContainsFunc(p[1], func(r rune) bool { return r < ' ' || r == '\uFFFD' }) {
			return q, domain.InvalidField(p[0], "must be valid UTF-8 without control characters")
		}
	}
	return q, nil
}

type listKeysRequest struct {
	KeyFilter
	AfterParam
	AtParam
	Sort   keySort `query:"sort" doc:"With - before it descending. Default -created_at."`
	Limit  int     `query:"limit" minimum:"1" maximum:"1000" default:"50"`
	Cursor string  `query:"cursor" maxLength:"2048"`
}

type keyPage struct {
	Body struct {
		Items      []Key   `json:"items"`
		At         *moment `json:"at,omitempty" nullable:"false" doc:"The moment that at names."`
		NextCursor *string `json:"next_cursor" doc:"null at the end, and only there: a page may be shorter than the limit."`
	}
}

func (s *server) listKeys(ctx context.Context, p domain.Principal, in *listKeysRequest) (*keyPage, error) {
	q, err := s.keyQuery(p, in.KeyFilter)
	if err != nil {
		return nil, err
	}
	q.Sort, q.Limit, q.Cursor = cmp.Or(string(in.Sort), "-created_at"), in.Limit, in.Cursor
	if err := s.waitAfter(ctx, in.AfterParam); err != nil {
		return nil, err
	}
	if in.At != "" {
		return s.listFormerKeys(ctx, p, in, q)
	}
	found, err := s.Store.Keys(q)
	if err != nil {
		return nil, err
	}
	page := &keyPage{}
	page.Body.Items = make([]Key, len(found.Keys))
	for i, k := range found.Keys {
		page.Body.Items[i] = s.showKey(k)
	}
	page.Body.NextCursor = cursorOrNull(found.NextCursor)
	return page, nil
}

func cursorOrNull(c string) *string {
	if c == "" {
		return nil
	}
	return &c
}
