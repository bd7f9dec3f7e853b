package main

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/domain"
)

// A population is the keys of one run. Each is a function of its number, so that the
// process that writes them and the one that presents them need not share a file.
type population struct {
	Orgs   []domain.OrgID
	First  int       // the keys below it belong to Orgs[0], the others in turn to the others; 0: all in turn to all
	Policy int       // the keys from it on are in policyKeyspace; 0: none are
	Begin  time.Time // when the first key was created, whole milliseconds
	Tokens []string  // of the people's sessions, all of the same length
}

// orgOf is the organization of key i.
func (p population) orgOf(i int) domain.OrgID {
	switch {
	case p.First == 0:
		return p.Orgs[i%len(p.Orgs)]
	case i < p.First:
		return p.Orgs[0]
	}
	return p.Orgs[1+i%(len(p.Orgs)-1)]
}

const (
	owners       = 10_000
	askedScope   = "invoices:read" // held by every key of a population
	secondScope  = "invoices:write"
	secretLength = 46
)

var defaultShape = func() domain.Shape {
	k, err := domain.NewKeyspaces(nil).Named(domain.DefaultKeyspace)
	if err != nil {
		panic(err)
	}
	return k.Format.Shapes()[0]
}()

func secretOf(i int) domain.Secret {
	random := derive("secret", i)
	return defaultShape.Mint(random[:])
}

func commandOf(i int) string { return fmt.Sprintf("bench-%d", i) }

// keyOf needs no organization: no two keys of a population have the same number.
func keyOf(i int) domain.KeyID { return domain.NewKeyID("", commandOf(i)) }

func ownerOf(i int) string {
	sum := derive("owner", i)
	return fmt.Sprintf("user_%04d", binary.BigEndian.Uint32(sum[:])%owners)
}

func derive(what string, i int) [32]byte {
	return sha256.Sum256(binary.BigEndian.AppendUint64([]byte("keytrail bench "+what), uint64(i)))
}

var (
	services     = [...]string{"billing", "checkout", "crawler", "export", "gateway", "mobile", "partner", "reports"}
	environments = [...]string{"production", "staging", "development"}
)

// created is the event that began key i. One in twenty expires, in 30 days at the
// soonest; half hold a second scope.
func (p population) created(i int) domain.KeyCreated {
	secret, draw := secretOf(i), derive("draw", i)
	e := domain.KeyCreated{
		ID: keyOf(i), Org: p.orgOf(i), Keyspace: domain.DefaultKeyspace,
		Settings: domain.Settings{Name: fmt.Sprintf("%s worker %d", services[draw[0]%8], i), Owner: ownerOf(i), Scopes: []string{askedScope}, Metadata: map[string]string{
			"environment": environments[draw[1]%3],
			"team":        fmt.Sprintf("team-%d", draw[2]),
		}},
		Digest: secret.Digest(), Prefix: defaultShape.DisplayPrefix(secret),
		Header: domain.Header{At: p.Begin.Add(time.Duration(i) * time.Millisecond), By: "bench"},
	}
	if draw[3]%2 == 0 {
		e.Scopes = append(e.Scopes, secondScope)
	}
	if i%20 == 0 {
		e.ExpiresAt = e.At.Add(time.Duration(30+int(draw[4])) * 24 * time.Hour)
	}
	if p.Policy > 0 && i >= p.Policy {
		underPolicy(i, &e)
	}
	return e
}

// shown is key i as the API shows it while it is as it began.
func (p population) shown(i int) api.Key {
	e := p.created(i)
	k := api.Key{
		ID: e.ID, Org: &e.Org, Keyspace: e.Keyspace, Name: e.Name, Prefix: e.Prefix, Owner: e.Owner, Scopes: e.Scopes,
		Status: "active", CreatedAt: e.At, CreatedBy: e.By, RateLimits: []domain.RateLimit{}, AllowedCIDRs: []string{}, Metadata: e.Metadata,
		RotateAfter: api.Known(time.Time{}), RotationDue: new(false),
	}
	if !e.ExpiresAt.IsZero() {
		k.ExpiresAt = &e.ExpiresAt
	}
	return k
}
