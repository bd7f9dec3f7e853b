package api

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// peerOf is the address of who has connected; the zero Addr if that is not TCP.
func peerOf(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	ip, _ := netip.ParseAddr(host)
	return ip.Unmap()
}

// clientIP is the peer's address; or, if the peer is a proxy that we trust, the last
// address in X-Forwarded-For that is none.
func (s *server) clientIP(r *http.Request) netip.Addr {
	ip := peerOf(r)
	if !s.trusted(ip) {
		return ip
	}
	for _, hops := range slices.Backward(r.Header["X-Forwarded-For"]) {
		for more := true; more; {
			var last string
			hops, last, more = cutLast(hops)
			hop, err := netip.ParseAddr(strings.TrimSpace(last))
			if err != nil {
				return ip
			}
			if ip = hop.Unmap(); !s.trusted(ip) {
				return ip
			}
		}
	}
	return ip
}

// cutLast cuts the last entry off a list with commas.
func cutLast(list string) (before, last string, more bool) {
	at := strings.LastIndexByte(list, ',')
	return list[:max(at, 0)], list[at+1:], at >= 0
}

func (s *server) trusted(ip netip.Addr) bool {
	return slices.ContainsFunc(s.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(ip) })
}
