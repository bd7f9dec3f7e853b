package inflight

import "net/netip"

// Holder is the address that an IP address counts as: an IPv4 address itself, and the /64
// network of an IPv6 address, of which one host can have every address.
func Holder(ip netip.Addr) netip.Addr {
	ip = ip.Unmap()
	if !ip.Is6() {
		return ip
	}
	b := ip.As16()
	clear(b[8:])
	return netip.AddrFrom16(b)
}
