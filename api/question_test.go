package api_test

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/api"
)

// behindProxies starts a service that trusts 127.0.0.1; 127.0.0.2 is a stranger.
func behindProxies(t testing.TB) *service {
	return startWith(t, nil, func(o *api.Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} })
}

const stranger = "127.0.0.2"

// What a gateway says of its client's request counts if the gateway is trusted, and a
// keyspace that demands it takes no request without it. Nobody gains by saying it.
func TestAGatewaySaysWhatARequestNeeds(t *testing.T) {
	s := behindProxies(t)
	org, other := s.org("acme"), s.org("other")
	secrets := map[string]string{}
	for name, demands := range map[string]string{"free": `[]`, "strict": `["scope","organization","cost"]`, "scoped": `["scope"]`} {
		s.keyspace(name, `,"gateway":{"demands":`+demands+`,"rate_limit_headers":["x-ratelimit"]}`)
		_, secrets[name] = s.key(name, org, `,"scopes":["a:read"],"rate_limits":[{"limit":1000,"window":"720h"}]`)
	}
	const scope, cost, resource = "X-Keytrail-Scope: ", "X-Keytrail-Cost: ", "X-Keytrail-Resource-Org-Id: "
	left := map[string]int{"free": 1000, "strict": 1000, "scoped": 1000}
	for _, c := range []struct {
		from, target string
		headers      []string
		outcome      string
		cost         int
	}{
		{"127.0.0.1", "free", nil, "VALID", 1},
		{"127.0.0.1", "free/x", []string{cost + "7"}, "VALID", 7},
		{"127.0.0.1", "free?cost=8", nil, "VALID", 8},
		{"127.0.0.1", "free/?cost=9", nil, "VALID", 1},
		{"127.0.0.1", "free?cost=8", []string{cost + "7"}, "MISCONFIGURED", 0},
		{"127.0.0.1", "free", []string{cost}, "VALID", 1},
		{"127.0.0.1", "free", []string{cost + "7", cost + "7"}, "MISCONFIGURED", 0},
		{"127.0.0.1", "free", []string{cost + "0"}, "MISCONFIGURED", 0},
		{"127.0.0.1", "free", []string{cost + "-1"}, "MISCONFIGURED", 0},
		{"127.0.0.1", "free", []string{cost + "1.5"}, "MISCONFIGURED", 0},
		{"127.0.0.1", "free", []string{cost + "1000001"}, "MISCONFIGURED", 0},
		{"127.0.0.1", "free", []string{cost + "99999999999999999999"}, "MISCONFIGURED", 0},
		{"127.0.0.1", "free", []string{cost + "1000000"}, "RATE_LIMITED", 0},
		{"127.0.0.1", "free", []string{resource + org}, "VALID", 1},
		{"127.0.0.1", "free?org_id=" + org, nil, "VALID", 1},
		{"127.0.0.1", "free?org_id=" + other, nil, "WRONG_ORGANIZATION", 0},
		{"127.0.0.1", "free/x?org_id=" + other, nil, "VALID", 1},
		{"127.0.0.1", "free", []string{resource + other}, "WRONG_ORGANIZATION", 0},
		{"127.0.0.1", "free", []string{resource + "../nonsense"}, "WRONG_ORGANIZATION", 0},
		{"127.0.0.1", "free", []string{resource + org, resource + other}, "MISCONFIGURED", 0},
		{"127.0.0.1", "free?org_id=" + org, []string{resource + other}, "MISCONFIGURED", 0},
		{stranger, "free", []string{cost + "7", resource + org}, "VALID", 1},
		{stranger, "free", []string{cost + "7", resource + other}, "WRONG_ORGANIZATION", 0},
		{stranger, "free?cost=7&org_id=" + other, nil, "WRONG_ORGANIZATION", 0},
		{stranger, "free", []string{scope + "b:read"}, "INSUFFICIENT_SCOPE", 0},

		{"127.0.0.1", "strict", []string{scope + "a:read", cost + "2", resource + org}, "VALID", 2},
		{"127.0.0.1", "strict?scope=a:read&cost=2&org_id=" + org, nil, "VALID", 2},
		{"127.0.0.1", "strict", []string{scope + "b:read", cost + "2", resource + org}, "INSUFFICIENT_SCOPE", 0},
		{"127.0.0.1", "strict", []string{scope + "a:read", resource + org}, "MISCONFIGURED", 0},
		{"127.0.0.1", "strict", []string{scope + "a:read", cost + "2"}, "MISCONFIGURED", 0},
		{"127.0.0.1", "strict", []string{cost + "2", resource + org}, "MISCONFIGURED", 0},
		{"127.0.0.1", "strict", []string{scope + " ,", cost + "2", resource + org}, "MISCONFIGURED", 0},
		{"127.0.0.1", "strict/?scope=a:read&cost=2&org_id=" + org, nil, "MISCONFIGURED", 0},
		{stranger, "strict", []string{scope + "a:read", cost + "2", resource + org}, "MISCONFIGURED", 0},
		{stranger, "scoped", []string{scope + "a:read"}, "MISCONFIGURED", 0},
		{"127.0.0.1", "scoped", []string{scope + "a:read"}, "VALID", 1},
	} {
		keyspace, _, _ := strings.Cut(strings.ReplaceAll(c.target, "?", "/"), "/")
		status, header, text := s.rawFrom(c.from, secrets[keyspace], "GET", "/v1/authorize/"+c.target, c.headers...)
		if header.Get("X-Keytrail-Outcome") != c.outcome {
			t.Errorf("%s %s %q: %s %v %s, want %s", c.from, c.target, c.headers, status, header, text, c.outcome)
			continue
		}
		left[keyspace] -= c.cost
		if remaining := header.Get("X-RateLimit-Remaining"); c.outcome != "MISCONFIGURED" && remaining != strconv.Itoa(left[keyspace]) {
			t.Errorf("%s %s %q: %s remain, want %d", c.from, c.target, c.headers, remaining, left[keyspace])
		}
		if c.outcome == "MISCONFIGURED" && (header.Get("X-RateLimit-Limit") != "" || header.Get("Www-Authenticate") != "") {
			t.Errorf("%s %q: a question that is none is answered %v", c.target, c.headers, header)
		}
	}
	status, header, text := s.rawFrom("127.0.0.1", secrets["strict"], "GET", "/v1/authorize/strict")
	if status != "403 Forbidden" || !strings.Contains(text, `"code":"gateway_demand"`) || header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("what the operator reads: %s %v %s", status, header, text)
	}
}

// Somebody who says what only gateways can is in the log, once.
func TestAGatewayThatIsNotTrustedIsInTheLog(t *testing.T) {
	var said bytes.Buffer
	s := startWith(t, nil, func(o *api.Options) { o.Logger = slog.New(slog.NewTextHandler(&said, nil)) })
	_, secret := s.key("default", s.org("acme"), "")
	for range 3 {
		s.do(secret, "GET", "/v1/authorize/default", "", "X-Keytrail-Cost", "7")
	}
	if n := strings.Count(said.String(), "trusted proxies"); n != 1 || strings.Contains(said.String(), secret) {
		t.Errorf("%d times: %s", n, said.String())
	}
}
