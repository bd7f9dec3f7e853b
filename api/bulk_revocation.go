package api

import (
	"cmp"
	"context"
	"encoding/json"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/projections"
)

const maxBulk = 10_000 // keys that one request revokes

type revokeKeysRequest struct {
	WriteHeaders
	Body struct {
		IDs    []string    `json:"ids,omitempty" maxItems:"10000" nullable:"false" doc:"Either the keys' ids …"`
		Filter *bulkFilter `json:"filter,omitempty" doc:"… or what a listing would be filtered by."`
		DryRun bool        `json:"dry_run,omitempty" doc:"Count, and change nothing."`
		Limit  int         `json:"limit,omitempty" minimum:"0" maximum:"10000" doc:"With a filter: keys in this request, default 10000."`
		Cursor string      `json:"cursor,omitempty" maxLength:"2048" doc:"With a filter: next_cursor of the request before; start, or nothing, is the beginning."`
		ReasonBody
	}
}

type revokeKeysAnswer struct {
	Position uint64 `header:"Keytrail-Position" doc:"Give it as after to a reader of another node."`
	Body     struct {
		Revoked        int             `json:"revoked"`
		AlreadyRevoked int             `json:"already_revoked"`
		Failed         []revokeFailure `json:"failed"`
		DryRun         bool            `json:"dry_run"`
		NextCursor     *string         `json:"next_cursor" doc:"With a filter: where to go on; null when all are done. If keys failed that a repeat may still revoke, it is this request's own beginning."`
	}
}

type revokeFailure struct {
	ID     string `json:"id"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// A bulkFilter says which keys to revoke. It has no empty members: one that a script forgot
// to fill would otherwise choose more than was meant.
type bulkFilter struct {
	KeyFilter
	All bool `json:"all,omitempty" doc:"All keys of the organization; status and keyspace may stand beside it."`
}

func (f bulkFilter) check(ctx context.Context, p domain.Principal) error {
	var body struct{ Filter map[string]json.RawMessage }
	if err := json.Unmarshal(bodyOf(ctx), &body); err != nil {
		return domain.InvalidField("filter", "must be a JSON object")
	}
	text, err := json.Marshal(f)
	if err != nil {
		return err
	}
	var filled map[string]json.RawMessage
	if err := json.Unmarshal(text, &filled); err != nil {
		return err
	}
	for name := range body.Filter {
		if filled[name] == nil {
			return domain.InvalidField("filter."+clip(name), "must not be empty; leave it out if it is not to matter")
		}
	}
	for _, broad := range []string{"org_id", "all", "status", "keyspace"} { // which choose no key in particular
		delete(filled, broad)
	}
	switch {
	case !f.All && len(filled) == 0:
		return domain.InvalidField("filter", `must say which keys, by more than status and keyspace; {"org_id":"…","all":true} revokes all of an organization`)
	case f.All && len(filled) > 0:
		return domain.InvalidField("filter.all", "means every key; only org_id, status and keyspace can stand beside it")
	case f.All && f.Org == "" && p.Reach().All:
		return domain.InvalidField("filter.org_id", "name the organization whose keys are all to be revoked")
	}
	return nil
}

func (s *server) revokeKeys(ctx context.Context, p domain.Principal, in *revokeKeysRequest) (*revokeKeysAnswer, error) {
	if (in.Body.IDs == nil) == (in.Body.Filter == nil) {
		return nil, domain.InvalidField("ids", "give either ids or a filter")
	}
	release, err := s.Commands.Reserve(in.request)
	if err != nil {
		return nil, err
	}
	defer release()
	a := &revokeKeysAnswer{}
	a.Body.Failed, a.Body.DryRun = []revokeFailure{}, in.Body.DryRun
	targets := named(in.Body.IDs)
	if in.Body.Filter != nil {
		if targets, a.Body.NextCursor, err = s.matching(ctx, p, in); err != nil {
			return nil, err
		}
	}
	return a, s.revokeEach(ctx, p, targets, in, a)
}

// A target is a key that is to be revoked: one that the request names, or one that its
// filter found.
type target struct {
	named string
	found *projections.KeyRow
}

// named are the keys that a request names, each once: repeats would be found carried out, and
// counted as often.
func named(ids []string) (targets []target) {
	known := make(map[string]bool, len(ids))
	for _, id := range ids {
		if !known[id] {
			known[id] = true
			targets = append(targets, target{named: id})
		}
	}
	return targets
}

// maxBulkPages bounds the pages of a listing that one request goes through: a page is short
// where few keys match.
const maxBulkPages = 10

// matching are the next keys that the filter finds, and where to go on.
func (s *server) matching(ctx context.Context, p domain.Principal, in *revokeKeysRequest) (targets []target, next *string, err error) {
	q, err := s.keyQuery(p, in.Body.Filter.KeyFilter)
	if err == nil {
		err = in.Body.Filter.check(ctx, p)
	}
	if err != nil {
		return nil, nil, err
	}
	q.Sort = "created_at"
	if in.Body.Cursor != firstCursor {
		q.Cursor = in.Body.Cursor
	}
	limit := cmp.Or(in.Body.Limit, maxBulk)
	for range maxBulkPages {
		q.Limit = limit - len(targets)
		page, err := s.Store.Keys(q)
		if err != nil {
			return nil, nil, err
		}
		for i := range page.Keys {
			targets = append(targets, target{string(page.Keys[i].ID), &page.Keys[i]})
		}
		if q.Cursor = page.NextCursor; q.Cursor == "" || len(targets) == limit {
			break
		}
	}
	return targets, cursorOrNull(q.Cursor), nil
}

// firstCursor is the cursor of a bulk revocation that stands before the first key.
const firstCursor = "start"

// revokeEach revokes targets. The answer's cursor moves on only if no key is left that a repeat
// may still revoke.
func (s *server) revokeEach(ctx context.Context, p domain.Principal, targets []target, in *revokeKeysRequest, a *revokeKeysAnswer) error {
	var last eventstore.Position
	again := false
	inParallel(s, targets, func(t target) (commands.KeyResult, error) { return s.revokeOne(ctx, p, t, in) },
		func(i int, r commands.KeyResult, err error) {
			last = max(last, r.Position)
			switch {
			case err != nil:
				problem := s.asProblem(ctx, err)
				a.Body.Failed = append(a.Body.Failed, revokeFailure{clip(targets[i].named), problem.Code, problem.Detail})
				again = again || problem.mayPass()
			case r.Changed:
				a.Body.Revoked++
			default:
				a.Body.AlreadyRevoked++
			}
		})
	if again && in.Body.Filter != nil {
		// The keys that this request did revoke will count as already revoked.
		from := cmp.Or(in.Body.Cursor, firstCursor)
		a.Body.NextCursor = &from
	}
	a.Position = uint64(cmp.Or(last, s.Store.Position()))
	return s.waitFor(ctx, last)
}

// revokeOne revokes a key. A dry run asks the decision that the real one would take.
func (s *server) revokeOne(ctx context.Context, p domain.Principal, t target, in *revokeKeysRequest) (result commands.KeyResult, err error) {
	var org domain.OrgID
	var id domain.KeyID
	if t.found != nil {
		org, id = t.found.Org, t.found.ID
	} else {
		org, id, err = s.writableKey(ctx, p, t.named)
	}
	if err == nil && string(id) == p.ID {
		err = domain.ErrOwnKey
	}
	if err != nil {
		return result, err
	}
	if in.Body.DryRun {
		k, err := s.readableKey(ctx, p, t.named)
		if err != nil {
			return result, err
		}
		event, err := k.Revoke(domain.RevokeKey{At: s.Now(), By: p})
		result.Changed = event != nil
		return result, err
	}
	return s.Commands.RevokeKey(ctx, commands.RevokeKey{Request: in.request, Org: org, Key: id, Reason: domain.Reason(in.Body.Reason), Comment: in.Body.Comment})
}
