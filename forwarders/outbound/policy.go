// Package outbound connects to addresses that were named by users of the service: the receivers of
// sinks. Such a user must not reach, through the service, what only the service's machine can
// reach (server-side request forgery). Each address is therefore checked when it is dialled, after
// its name was resolved: what a name resolves to later, or elsewhere, does not matter.
package outbound

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
)

// A Policy says which addresses may be dialled: all that are globally reachable, and those in
// Networks. Ports are not restricted: SIEMs listen on many (8088, 9200, 6514, 4318), and what must
// not be reached is what is not global. The zero Policy has no networks of its own.
type Policy struct {
	Networks []netip.Prefix // that may be dialled though they are not global; plain text goes to no others
	Resolver *net.Resolver  // nil: the system's
	Setting  string         // the service's flag that names Networks; "": that of sinks
}

func (p Policy) setting() string { return cmp.Or(p.Setting, "--sink-networks") }

// internal4 are the IPv4 networks that are not globally reachable (IANA's special-purpose registry,
// RFC 6890), by what is said of them.
var internal4 = []network{
	{"0.0.0.0/8", "an address of this host"},
	{"10.0.0.0/8", "a private address"},
	{"100.64.0.0/10", "a shared address (CGNAT)"},
	{"127.0.0.0/8", "a loopback address"},
	{"169.254.0.0/16", "a link-local address"},
	{"172.16.0.0/12", "a private address"},
	{"192.0.0.0/24", "a reserved address"},
	{"192.0.2.0/24", "an address for documentation"},
	{"192.88.99.0/24", "a reserved address"},
	{"192.168.0.0/16", "a private address"},
	{"198.18.0.0/15", "an address for benchmarks"},
	{"198.51.100.0/24", "an address for documentation"},
	{"203.0.113.0/24", "an address for documentation"},
	{"224.0.0.0/4", "a multicast address"},
	{"240.0.0.0/4", "a reserved or broadcast address"},
}

// global6 is all of IPv6 that is routed globally; internal6 are the exceptions in it. Teredo and
// 6to4 are among them, which carry an IPv4 address to a tunnel of this host.
var (
	global6   = netip.MustParsePrefix("2000::/3")
	internal6 = []network{
		{"2001::/23", "a reserved address"},
		{"2001:db8::/32", "an address for documentation"},
		{"2002::/16", "a 6to4 address"},
		{"3fff::/20", "an address for documentation"},
	}
)

// nat64 is where a network without IPv4 has the whole of it (RFC 6052): such an address is judged
// as the IPv4 address in its last four bytes.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// metadata are the addresses at which clouds give credentials to a machine. One of them may be
// dialled only if Networks has it by itself, not as part of a larger network: naming 0.0.0.0/0,
// 100.64.0.0/10 or fd00::/8 must not hand out the machine's identity.
var metadata = addrs(
	"169.254.169.254", // AWS, Azure, Google, and others
	"169.254.170.2",   // AWS: tasks
	"169.254.170.23",  // AWS: pods
	"168.63.129.16",   // Azure: the host's agent
	"100.100.100.200", // Alibaba
	"192.0.0.192",     // Oracle
	"fd00:ec2::254",   // AWS
	"fd00:ec2::23",    // AWS: pods
	"fd20:ce::254",    // Google
)

type network struct {
	cidr string
	says string
}

func addrs(texts ...string) (all []netip.Addr) {
	for _, t := range texts {
		all = append(all, netip.MustParseAddr(t))
	}
	return all
}

// objection is why a may not be dialled, "" if it may.
func (p Policy) objection(a netip.Addr) string {
	a = embedded(a)
	switch {
	case slices.Contains(metadata, a):
		if slices.Contains(p.Networks, netip.PrefixFrom(a, a.BitLen())) {
			return ""
		}
		return "a cloud's metadata address"
	case p.named(a):
		return ""
	case a.Is4():
		return find(internal4, a)
	case global6.Contains(a):
		return find(internal6, a)
	case a.IsLoopback():
		return "a loopback address"
	case a.IsPrivate():
		return "a private address"
	case a.IsLinkLocalUnicast():
		return "a link-local address"
	}
	return "a reserved address"
}

// Objection is why a host that is named by its address may not be dialled, "" if it may. What a name
// resolves to is told when it is dialled.
func (p Policy) Objection(host string) string {
	a, err := netip.ParseAddr(host)
	if err != nil {
		return ""
	}
	return p.objection(a)
}

// named reports whether a is in one of p's networks.
func (p Policy) named(a netip.Addr) bool {
	a = embedded(a)
	return slices.ContainsFunc(p.Networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

// embedded is the address that packets to a arrive at: an IPv4 address in IPv6 is itself. A zone
// only says by which interface.
func embedded(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if nat64.Contains(a) {
		b := a.As16()
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return a
}

func find(networks []network, a netip.Addr) string {
	for _, n := range networks {
		if netip.MustParsePrefix(n.cidr).Contains(a) {
			return n.says
		}
	}
	return ""
}
