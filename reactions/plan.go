package reactions

import (
	"context"
	"errors"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/projections"
)

// A plan is what follows from a batch of events: for each person some effects, in the order of the
// events. Those of different people have no order.
type plan struct {
	*tenure
	people  []domain.UserID
	effects map[domain.UserID][]effect

	mu   sync.Mutex
	done done
}

// done is what became of effects.
type done struct {
	issued, revoked uint64
	refusals        []domain.ReactionRefusal
}

// An effect is what follows from one event: a key is issued in a keyspace, or all that a person holds
// in an organization are revoked.
type effect struct {
	position    eventstore.Position // of the event
	event       string              // its id
	correlation string
	org         domain.OrgID // "": of all organizations
	user        domain.UserID
	keyspace    string // "": keys are revoked
	issue       domain.IssuePolicy
	comment     string // of revocations
}

// plan finds what follows from events. Keyspaces are as they were at each of them.
func (t *tenure) plan(records []eventstore.Record) *plan {
	p := &plan{tenure: t, effects: map[domain.UserID][]effect{}}
	for i := range records {
		r := &records[i]
		switch e := r.Event.(type) {
		case domain.UserCreated:
			p.issue(r, domain.IssueOnUser, e.ID)
		case domain.MembershipCreated:
			if r.Org != domain.Installation { // which has operators, not customers
				p.issue(r, domain.IssueOnMembership, e.User)
			}
		case domain.MembershipRemoved:
			p.add(r, effect{org: r.Org, user: e.User, comment: "membership removed"})
		case domain.UserRemoved:
			p.add(r, effect{user: domain.UserID(r.Subject), comment: "user removed"})
		default:
			t.define(r)
		}
	}
	return p
}

// define keeps up with keyspaces.
func (t *tenure) define(r *eventstore.Record) {
	switch r.Event.(type) {
	case domain.KeyspaceDefined, domain.KeyspaceUpdated, domain.KeyspaceRetired, domain.KeyspaceReinstated:
		k := t.keyspaces[r.Subject]
		if k == nil {
			k = &domain.Keyspace{}
			t.keyspaces[r.Subject] = k
		}
		k.Apply(r.Event)
	}
}

// issue adds a key in each keyspace that issues one on such an event.
func (p *plan) issue(r *eventstore.Record, on string, user domain.UserID) {
	for name, k := range p.keyspaces {
		if k.Issue == nil || k.Issue.On != on || k.Retired() {
			continue
		}
		e := effect{org: r.Org, user: user, keyspace: name, issue: *k.Issue}
		if on == domain.IssueOnUser {
			e.org = k.Issue.Organization
		}
		p.add(r, e)
	}
}

// add adds an effect of an event.
func (p *plan) add(r *eventstore.Record, e effect) {
	e.position, e.event, e.correlation = r.Position, r.ID, r.Correlation
	if e.correlation == "" {
		e.correlation = "event-" + strconv.FormatUint(uint64(r.Position), 10)
	}
	if p.effects[e.user] == nil {
		p.people = append(p.people, e.user)
	}
	p.effects[e.user] = append(p.effects[e.user], e)
}

// maxParallel is for how many people effects are carried out at once: a quarter of an atomic batch,
// which leaves the rest to requests.
const maxParallel = 250

// carryOut carries all effects out, and ends with the first that fails.
func (p *plan) carryOut(ctx context.Context) error {
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.SetLimit(maxParallel)
	for _, user := range p.people {
		tasks.Go(func() error {
			var wrote eventstore.Position
			for _, e := range p.effects[user] {
				at, err := p.apply(ctx, e, wrote)
				if err != nil {
					return err
				}
				wrote = max(wrote, at)
			}
			return nil
		})
	}
	return tasks.Wait()
}

// apply carries out one effect, after the read model has what those before it wrote.
func (p *plan) apply(ctx context.Context, e effect, wrote eventstore.Position) (eventstore.Position, error) {
	if err := p.Store.WaitFor(ctx, wrote); err != nil {
		return 0, err
	}
	if e.keyspace == "" {
		return 0, p.revoke(ctx, e)
	}
	return p.create(ctx, e)
}

// create issues a key, unless it was issued before, or the person is gone since.
func (p *plan) create(ctx context.Context, e effect) (eventstore.Position, error) {
	command := "reaction-" + e.event + "-" + e.keyspace
	if k, err := p.Store.KeyState(domain.All, domain.NewKeyID(e.org, command)); err == nil {
		return k.Revision, nil
	}
	there, err := p.isThere(e)
	if err != nil || !there {
		return 0, err
	}
	name := e.issue.Name
	if name == "" {
		name = domain.IssuedName
	}
	r, err := p.Commands.CreateKey(ctx, commands.CreateKey{
		Request: commands.Request{By: domain.System, CommandID: command, Correlation: e.correlation},
		Org:     e.org, Keyspace: e.keyspace, Environment: e.issue.Environment,
		Settings: domain.Settings{Name: name, Owner: string(e.user), Scopes: e.issue.Scopes},
	})
	if errors.Is(err, domain.ErrOneKeyExists) {
		return 0, nil // the person has the one key
	}
	if err == nil && !r.Replayed {
		p.count(func(d *done) { d.issued++ })
	}
	return r.Position, p.unlessRefused(ctx, e, "", err)
}

// isThere reports whether the person still is the user, or the member, that the event made. If not,
// a later event tells what became of them.
func (p *plan) isThere(e effect) (bool, error) {
	if e.issue.On == domain.IssueOnUser {
		u, err := p.Store.User(e.user)
		return err == nil && u.Status() != domain.RemovedUser, err
	}
	since, err := p.Store.MemberSince(e.org, e.user)
	return since == e.position, err
}

// revoke revokes the keys that a person holds. Of one who is a member again those stay that were made
// since.
func (p *plan) revoke(ctx context.Context, e effect) error {
	since, reach := eventstore.Position(0), domain.All
	if e.org != "" {
		var err error
		if since, err = p.Store.MemberSince(e.org, e.user); err != nil {
			return err
		}
		reach = domain.Only(e.org)
	}
	q := projections.KeyQuery{Reach: reach, Owner: string(e.user), Sort: "created_at", Limit: 1000, Now: p.now()}
	for {
		page, err := p.Store.Keys(q)
		if err != nil {
			return err
		}
		for i := range page.Keys {
			if err := p.revokeKey(ctx, e, &page.Keys[i], since); err != nil {
				return err
			}
		}
		if q.Cursor = page.NextCursor; q.Cursor == "" {
			return nil
		}
	}
}

// revokeKey revokes a key, unless it was made after a position; 0: whenever it was made.
func (p *plan) revokeKey(ctx context.Context, e effect, k *projections.KeyRow, after eventstore.Position) error {
	if k.State == domain.Revoked {
		return nil
	}
	if after > 0 {
		made, err := p.madeAt(ctx, k)
		if err != nil || made > after {
			return err
		}
	}
	r, err := p.Commands.RevokeKey(ctx, commands.RevokeKey{
		Request: commands.Request{By: domain.System, Correlation: e.correlation},
		Org:     k.Org, Key: k.ID, Reason: domain.AffiliationChanged, Comment: e.comment,
	})
	if err == nil && r.Changed {
		p.count(func(d *done) { d.revoked++ })
	}
	return p.unlessRefused(ctx, e, k.ID, err)
}

// madeAt is the position of a key's creation.
func (p *plan) madeAt(ctx context.Context, k *projections.KeyRow) (at eventstore.Position, err error) {
	_, err = p.Ledger.Load(ctx, eventstore.KeyRef(k.Org, k.ID), 0, func(r eventstore.Record) {
		if _, created := r.Event.(domain.KeyCreated); created {
			at = r.Position
		}
	})
	return at, err
}

// unlessRefused is err, or nil if it is a refusal, which is noted: to try again would change nothing.
func (p *plan) unlessRefused(ctx context.Context, e effect, key domain.KeyID, err error) error {
	var refused *domain.Error
	if !errors.As(err, &refused) || !refused.Final() {
		return err
	}
	p.Logger.WarnContext(ctx, "what follows from an event was refused", "position", e.position, "user", string(e.user), "org", string(e.org), "keyspace", e.keyspace, "key", string(key), "code", refused.Code)
	p.count(func(d *done) {
		d.refusals = append(d.refusals, domain.ReactionRefusal{Position: uint64(e.position), At: p.now(), Org: e.org, User: e.user, Keyspace: e.keyspace, Key: key, Code: refused.Code, Detail: refused.Text})
	})
	return nil
}

func (p *plan) count(f func(*done)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.done)
}
