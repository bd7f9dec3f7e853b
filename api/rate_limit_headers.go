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
	limits := shownLimits(&a.answer)
	if len(limits) == 0 { // the key is not known, or has none
		return
	}
	if a.answer.Outcome == domain.UseRateLimited {
		h.Set("X-RateLimit-Reset", strconv.FormatInt(a.answer.Reset(), 10))
	}
	for _, family := range a.answer.Keyspace.Gateway.RateLimitHeaders {
		switch family {
		case "x-ratelimit":
			showClosest(h, limits)
		case "ratelimit":
			showPolicies(h, limits, now)
		}
	}
}

// A shownLimit is a rate limit, or a quota of uses, as headers show it.
type shownLimit struct {
	name                    string
	limit, remaining, reset int64
	window                  int64 // in seconds
}

// shownLimits are the key's rate limits, and the quotas of its organization's plan.
func shownLimits(a *verify.Answer) (all []shownLimit) {
	for _, l := range a.Limits {
		all = append(all, shownLimit{l.Window.String(), l.Limit, l.Remaining, l.Reset, l.Window.Milliseconds() / 1000})
	}
	for _, q := range a.Quotas {
		month := q.Month()
		all = append(all, shownLimit{"month-" + q.Of.String(), q.Limit, q.Remaining, q.Reset(), int64(month.End().Sub(month.Start()).Seconds())})
	}
	return all
}

// showClosest writes the usual headers, which have room for one limit: the one of which the
// least is left; of several, the one that ends last.
func showClosest(h http.Header, limits []shownLimit) {
	l := slices.MinFunc(limits, func(a, b shownLimit) int {
		if a.remaining != b.remaining {
			return cmp.Compare(a.remaining, b.remaining)
		}
		return cmp.Compare(b.reset, a.reset)
	})
	h.Set("X-RateLimit-Limit", strconv.FormatInt(l.limit, 10))
	h.Set("X-RateLimit-Remaining", strconv.FormatInt(l.remaining, 10))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(l.reset, 10))
}

// showPolicies writes all limits as draft-ietf-httpapi-ratelimit-headers has them. The name of
// each is its window, and that of a quota month-organization, month-owner or month-key.
func showPolicies(h http.Header, limits []shownLimit, now time.Time) {
	policies, states := make([]string, len(limits)), make([]string, len(limits))
	for i, l := range limits {
		policies[i] = fmt.Sprintf(`"%s";q=%d;w=%d`, l.name, l.limit, l.window)
		states[i] = fmt.Sprintf(`"%s";r=%d;t=%d`, l.name, l.remaining, max(0, l.reset-now.Unix()))
	}
	h.Set("RateLimit-Policy", strings.Join(policies, ", "))
	h.Set("RateLimit", strings.Join(states, ", "))
}
