package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/keyring"
	"github.com/keytrail/keytrail/internal/password"
	"github.com/keytrail/keytrail/internal/token"
)

// The people of an installation are as many users as it has keys, who all have one password. Each is a
// member of one organization, in its role peopleRole, and has one session there.
const (
	maxPeople      = 10_000
	peopleRole     = "billing" // custom: a role that is built in needs no look-up
	peoplePassword = "correct horse battery staple"
	productSpace   = "product" // a keyspace at which roles have scopes of their own
)

func userOf(i int) domain.UserID       { return domain.NewUserID(commandOf(i)) }
func emailOf(i int) string             { return fmt.Sprintf("user%06d@example.com", i) }
func sessionOf(i int) domain.SessionID { return domain.NewSessionID(commandOf(i)) }

// defineProduct defines what members may do: here, and at a product.
func defineProduct(ctx context.Context, e *env) error {
	_, err := inParallel(ctx, writers, e.orgs, func(i int) error {
		path := "/v1/organizations/" + string(e.population.Orgs[i]) + "/roles/" + peopleRole
		return e.root(ctx, http.MethodPut, path, fields{"scopes": []string{askedScope}}, nil)
	})
	if err != nil {
		return err
	}
	format := domain.Format{Prefix: "kt_prod_", Alphabet: domain.Base62, Length: 32, Checksum: domain.CRC32, Shown: 4}
	sessions := fields{"roles": []fields{{"role": peopleRole, "scopes": []string{askedScope, secondScope}}}}
	return e.root(ctx, http.MethodPut, "/v1/keyspaces/"+productSpace, fields{"format": format, "sessions": sessions}, nil)
}

// settle appends the events of all people, straight to the ledger: to hash so many passwords takes
// the service minutes. Those of one organization come one after the other, as they share an aggregate.
func settle(ctx context.Context, e *env) error {
	hash, err := password.NewPool().Hash(ctx, password.Client{}, peoplePassword)
	if err != nil {
		return err
	}
	if e.population.Tokens, err = e.tokensOf(e.keys); err != nil {
		return err
	}
	return withLedger(ctx, e.ledger(), func(_ *nats.Conn, l *eventstore.Ledger) error {
		g, ctx := errgroup.WithContext(ctx)
		for first, org := range e.population.Orgs {
			g.Go(func() error {
				end, err := l.Last(ctx, eventstore.MembersRef(org))
				for i := first; i < e.keys && err == nil; i += len(e.population.Orgs) {
					end, err = e.population.settle(ctx, l, i, domain.PasswordHash(hash), end)
				}
				return err
			})
		}
		return g.Wait()
	})
}

// settle appends the events of one person, after the last one of the organization's members, and
// tells where that is then. A session begins after the membership: one before it would be over.
func (p population) settle(ctx context.Context, l *eventstore.Ledger, i int, hash domain.PasswordHash, end eventstore.Position) (eventstore.Position, error) {
	user, org, header := userOf(i), p.orgOf(i), domain.Header{At: p.Begin, By: "bench"}
	end, err := write(ctx, l, eventstore.MembersRef(org), end, commandOf(i), domain.MembershipCreated{User: user, Role: peopleRole, Header: header})
	for _, first := range []struct {
		ref   eventstore.Ref
		event domain.Event
	}{
		{eventstore.AddressRef(emailOf(i)), domain.AddressClaimed{Email: emailOf(i), User: user, Header: header}},
		{eventstore.UserRef(user), domain.UserCreated{ID: user, Email: emailOf(i), Password: hash, Header: header}},
		{eventstore.SessionsRef(org, user), domain.SessionCreated{ID: sessionOf(i), User: user, Org: org, Method: domain.ByPassword, ExpiresAt: p.sessionsEnd(), Header: header}},
	} {
		if err == nil {
			_, err = write(ctx, l, first.ref, 0, commandOf(i), first.event)
		}
	}
	return end, err
}

// sessionsEnd is when the sessions of all people end: after every run.
func (p population) sessionsEnd() time.Time {
	return p.Begin.Add(domain.SessionTTL).Truncate(time.Second)
}

// tokensOf are the tokens of the first sessions, signed as the service does.
func (e *env) tokensOf(n int) ([]string, error) {
	ring, err := keyring.Load(filepath.Join(e.data(), "keyring"))
	if err != nil {
		return nil, err
	}
	issuer, err := token.NewIssuer(ring.Derive(keyring.Tokens), ring.Derive(keyring.Sessions), "")
	if err != nil {
		return nil, err
	}
	all := make([]string, n)
	for i := range all {
		claims := token.SessionClaims{Subject: string(userOf(i)), ID: string(sessionOf(i)), Org: string(e.population.orgOf(i)), Email: emailOf(i),
			IssuedAt: e.population.Begin.Unix(), Expiry: e.population.sessionsEnd().Unix()}
		if all[i], err = issuer.SignSession(1, claims); err != nil {
			return nil, err
		}
	}
	return all, nil
}
