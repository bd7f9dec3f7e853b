package outbound

import (
	"net/netip"
	"testing"
)

// TestObjections: the zero policy allows what is globally reachable, whatever it is written as.
func TestObjections(t *testing.T) {
	denied := map[string]string{
		"0.0.0.0": "this host", "10.1.2.3": "private", "100.64.0.1": "CGNAT", "127.0.0.1": "loopback", "127.255.0.1": "loopback",
		"169.254.1.1": "link-local", "169.254.169.254": "metadata", "100.100.100.200": "metadata", "168.63.129.16": "metadata", "192.0.0.192": "metadata",
		"172.16.0.1": "private", "172.31.255.255": "private", "192.168.1.1": "private", "192.0.0.1": "reserved", "192.0.2.1": "documentation",
		"198.18.0.1": "benchmarks", "198.51.100.7": "documentation", "203.0.113.7": "documentation",
		"224.0.0.1": "multicast", "240.0.0.1": "reserved", "255.255.255.255": "broadcast",
		"::": "reserved", "::1": "loopback", "fc00::1": "private", "fd12::1": "private", "fd00:ec2::254": "metadata", "fe80::1": "link-local", "fe80::1%eth0": "link-local",
		"ff02::1": "reserved", "fec0::1": "reserved", "100::1": "reserved", "2001:db8::1": "documentation", "3fff::1": "documentation",
		"::ffff:127.0.0.1": "loopback", "::ffff:169.254.169.254": "metadata", "::ffff:0:127.0.0.1": "reserved", "::127.0.0.1": "reserved",
		"64:ff9b::10.0.0.1": "private", "64:ff9b::169.254.169.254": "metadata", "64:ff9b:1::1": "reserved",
		"2002:7f00:1::": "6to4", "2001::1": "reserved",
	}
	for a, says := range denied {
		if got := (Policy{}).objection(netip.MustParseAddr(a)); !contains(got, says) {
			t.Errorf("%s: %q, want %q", a, got, says)
		}
	}
	for _, a := range []string{"1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::1.1.1.1", "::ffff:1.1.1.1"} {
		if got := (Policy{}).objection(netip.MustParseAddr(a)); got != "" {
			t.Errorf("%s: %q, want it allowed", a, got)
		}
	}
}

// TestNetworksAllow: a network allows its addresses, but metadata addresses only one by one.
func TestNetworksAllow(t *testing.T) {
	wide := Policy{Networks: prefixes("0.0.0.0/0", "fd00::/8")}
	single := Policy{Networks: prefixes("169.254.169.254/32", "fd00:ec2::254/128")}
	for a, p := range map[string]Policy{
		"10.1.2.3": wide, "127.0.0.1": wide, "::ffff:10.1.2.3": wide, "64:ff9b::10.0.0.1": wide, "fd12::1": wide,
		"169.254.169.254": single, "fd00:ec2::254": single,
	} {
		if got := p.objection(netip.MustParseAddr(a)); got != "" {
			t.Errorf("%s: %q, want it allowed", a, got)
		}
	}
	for a, p := range map[string]Policy{"169.254.169.254": wide, "fd00:ec2::254": wide, "100.100.100.200": wide, "fe80::1": wide, "169.254.169.253": single} {
		if got := p.objection(netip.MustParseAddr(a)); got == "" {
			t.Errorf("%s is allowed", a)
		}
	}
}
