package eventstore

import (
	"net/netip"
	"testing"

	"github.com/keytrail/keytrail/domain"
)

// A type that a set of types cannot hold would be kept from subscriptions to it.
func TestATypeSetHoldsEveryType(t *testing.T) {
	var all typeSet
	for _, one := range domain.EventTypes {
		var alone typeSet
		alone.add(one.Name)
		if alone == (typeSet{}) || all.meets(alone) {
			t.Errorf("%s has no bit of its own", one.Name)
		}
		all.add(one.Name)
	}
}

// TestAFilterOfUsesChoosesUsesAlone: by where they came from, each of a sum's addresses
// included, by what they were for, and by outcome.
func TestAFilterOfUsesChoosesUsesAlone(t *testing.T) {
	use := func(code domain.Outcome, ip string, more ...string) domain.Event {
		return domain.KeyUsed{Code: code, IP: ip, Addresses: more}
	}
	used := func(resource string, more ...string) domain.Event {
		return domain.KeyUsed{Resource: resource, Resources: more}
	}
	from := func(network string) Filter { return Filter{Network: netip.MustParsePrefix(network)} }
	codes := Filter{Codes: []domain.Outcome{domain.UseRevoked, domain.UseNotFound}}
	for _, c := range []struct {
		filter Filter
		event  domain.Event
		want   bool
	}{
		{from("192.0.2.0/24"), use("", "192.0.2.9"), true},
		{from("192.0.2.0/24"), use("", "::ffff:192.0.2.9"), true},
		{from("192.0.2.0/24"), use("", "192.0.3.9"), false},
		{from("192.0.2.0/24"), use("", ""), false},
		{from("0.0.0.0/0"), use("", ""), false},
		{from("192.0.2.0/24"), use("", "198.51.100.1", "203.0.113.1", "192.0.2.255"), true},
		{from("2001:db8::/32"), use("", "2001:db8::1"), true},
		{from("fe80::/10"), use("", "fe80::1%eth0"), true},
		{from("::/0"), use("", "192.0.2.9"), false},
		{from("::/0"), domain.CredentialsRefused{}, false},
		{from("::/0"), domain.KeyRevoked{}, false},
		{Filter{Resource: "GET /v1/a"}, used("GET /v1/a"), true},
		{Filter{Resource: "GET /v1/a"}, used("GET /v1/ab"), false},
		{Filter{Resource: "GET /v1/a"}, used("POST /v1/a"), false},
		{Filter{Resource: "GET /v1/a"}, used(""), false},
		{Filter{Resource: "GET /v1/*"}, used("GET /v1/a"), true},
		{Filter{Resource: "GET /v1/*"}, used("GET /v2/a"), false},
		{Filter{Resource: "/v1/a"}, used("DELETE /v1/a"), true},
		{Filter{Resource: "/v1/a"}, used("/v1/a"), false},
		{Filter{Resource: "/v1*"}, used("DELETE /v1/a"), true},
		{Filter{Resource: "*"}, used("orders"), true},
		{Filter{Resource: "*"}, used(""), false},
		{Filter{Resource: "*"}, domain.KeyRevoked{}, false},
		{Filter{Resource: "/v1/a"}, used("", "GET /v1/b", "GET /v1/a"), true},
		{codes, use(domain.UseRevoked, ""), true},
		{codes, use(domain.UseValid, ""), false},
		{codes, domain.CredentialsRefused{}, true},
		{codes, domain.KeyRevoked{}, false},
	} {
		var ofUses typeSet
		ofUses.add("key.used")
		ofUses.add("credentials.refused")
		c.filter.Reach = domain.All
		if got := c.filter.Matches(&Record{Event: c.event}); got != c.want {
			t.Errorf("%v, %v and %q choose %#v: %t", c.filter.Network, c.filter.Codes, c.filter.Resource, c.event, got)
		}
		if !c.filter.excludes(Events) || c.filter.excludes(Uses) || c.filter.typeSet() != ofUses {
			t.Error("what is of uses alone is looked for elsewhere")
		}
	}
}

// TestASampleHasAllButMostValidUses: the same whether a use is decoded or only the beginning of its line.
func TestASampleHasAllButMostValidUses(t *testing.T) {
	f := Filter{Reach: domain.All, OneIn: 10}
	const messages, each = 100, 300
	chosen := 0
	for p := range Position(messages) {
		for index := range each {
			r := Record{Stream: Uses, Position: p, Index: index, Event: domain.KeyUsed{Code: domain.UseValid}}
			if f.Matches(&r) != f.wants()(p, index, &useLine{Code: domain.UseValid}) {
				t.Fatalf("a use in the ring is not chosen as on the ledger: %s", r.Identity())
			}
			if f.Matches(&r) {
				chosen++
			}
			if r.Event = (domain.KeyUsed{Code: domain.UseRevoked}); !f.Matches(&r) || !f.wants()(p, index, &useLine{Code: domain.UseRevoked}) {
				t.Fatal("a refusal is left out")
			}
		}
	}
	if chosen < messages*each/11 || chosen > messages*each/9 {
		t.Errorf("of %d valid uses %d are chosen", messages*each, chosen)
	}
}
