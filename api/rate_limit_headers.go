package api

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/verify"
)

// rateLimitHeaders are those of answers about a known key, if its keyspace asks for them.
var rateLimitHeaders = map[string]string{
	"X-RateLimit-Limit":     "Of the rate limit of which the least is left.",
	"X-RateLimit-Remaining": "What is left of it.",
	"X-RateLimit-Reset":     "When it begins anew, in seconds since the Unix epoch; with 429 in any case.",
	"RateLimit-Policy":      "All rate limits, as in draft-ietf-httpapi-ratelimit-headers.",
	"RateLimit":             "What is left of each.",
}

// showRateLimits says what is left of the key's rate limits, in the headers that the keyspace asks
// for. A request that is refused for them is told in any case when there is room again.
func (a *authorization) showRateLimits(h http.Header, now time.Time) {
	if len(a.answer.Limits) == 0 { // the key is not known, or has none
		return
	}
	if a.answer.Outcome == domain.UseRateLimited {
		h.Set("X-RateLimit-Reset", strconv.FormatInt(a.answer.Reset(), 10))
	}
	for _, family := range a.answer.Keyspace.Gateway.RateLimitHeaders {
		switch family {
		case "x-ratelimit":
			showClosest(h, a.answer.Limits)
		case "ratelimit":
			showPolicies(h, a.answer.Limits, now)
		}
	}
}

// showClosest writes the usual headers, which have room for one limit: the one of which the
// least is left; of several, the one that ends last.
func showClosest(h http.Header, limits []verify.LimitState) {
	l := slices.MinFunc(limits, func(a, b verify.LimitState) int {
		if a.Remaining != b.Remaining {
			return cmp.Compare(a.Remaining, b.Remaining)
		}
		return cmp.Compare(b.Reset, a.Reset)
	})
	h.Set("X-RateLimit-Limit", strconv.FormatInt(l.Limit, 10))
	h.Set("X-RateLimit-Remaining", strconv.FormatInt(l.Remaining, 10))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(l.Reset, 10))
}

// showPolicies writes all limits as draft-ietf-httpapi-ratelimit-headers has them. The name of
// each is its window.
func showPolicies(h http.Header, limits []verify.LimitState, now time.Time) {
	policies, states := make([]string, len(limits)), make([]string, len(limits))
	for i, l := range limits {
		policies[i] = fmt.Sprintf(`"%s";q=%d;w=%d`, l.Window, l.Limit, l.Window.Milliseconds()/1000)
		states[i] = fmt.Sprintf(`"%s";r=%d;t=%d`, l.Window, l.Remaining, max(0, l.Reset-now.Unix()))
	}
	h.Set("RateLimit-Policy", strings.Join(policies, ", "))
	h.Set("RateLimit", strings.Join(states, ", "))
}
