package api

import (
	"net/http"
	"net/netip"
	"testing"
)

// The client's address is the last that a trusted proxy has named and that is none itself. What a
// client has put before it is not looked at.
func TestTheClientsAddress(t *testing.T) {
	s := &server{Options: Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}}}
	for _, c := range []struct {
		peer string
		hops []string
		want string
	}{
		{"192.0.2.1:5", []string{"198.51.100.1"}, "192.0.2.1"},
		{"127.0.0.1:5", nil, "127.0.0.1"},
		{"127.0.0.1:5", []string{""}, "127.0.0.1"},
		{"127.0.0.1:5", []string{"192.0.2.7"}, "192.0.2.7"},
		{"127.0.0.1:5", []string{"203.0.113.1, 192.0.2.7"}, "192.0.2.7"},
		{"127.0.0.1:5", []string{"203.0.113.1, 192.0.2.7 ,10.0.0.1"}, "192.0.2.7"},
		{"127.0.0.1:5", []string{"203.0.113.1", "192.0.2.7", "10.0.0.1,10.0.0.2"}, "192.0.2.7"},
		{"127.0.0.1:5", []string{"10.0.0.1,10.0.0.2"}, "10.0.0.1"},
		{"127.0.0.1:5", []string{"192.0.2.7, unknown, 10.0.0.2"}, "10.0.0.2"},
		{"127.0.0.1:5", []string{"192.0.2.7,"}, "127.0.0.1"},
		{"127.0.0.1:5", []string{",192.0.2.7"}, "192.0.2.7"},
		{"127.0.0.1:5", []string{"::ffff:192.0.2.7"}, "192.0.2.7"},
		{"[::1]:5", []string{"192.0.2.7"}, "::1"},
		{"@", []string{"192.0.2.7"}, "invalid IP"},
	} {
		r := &http.Request{RemoteAddr: c.peer, Header: http.Header{"X-Forwarded-For": c.hops}}
		if got := s.clientIP(r).String(); got != c.want {
			t.Errorf("%s %q is %s, want %s", c.peer, c.hops, got, c.want)
		}
	}
}
