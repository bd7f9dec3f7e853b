package api

import (
	"cmp"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// An eventQuery is one request for events, within its caller's reach.
type eventQuery struct {
	filter eventstore.Filter
	cursor eventstore.Cursor
	limit  int
	wait   time.Duration
	chosen map[string]string // what the filter was made of, without the range of times
}

// read is the query as the trail has it.
func (q *eventQuery) read(a domain.TrailAccess) commands.ReadTrail {
	return commands.ReadTrail{Access: a, Filter: q.chosen, From: q.filter.From, To: q.filter.To}
}

// filterParameters are those that choose among events, beside the range of times.
var filterParameters = []string{"org_id", "key_id", "type", "actor", "code", "ip", "resource"}

func (s *server) parseEvents(r *http.Request, p domain.Principal) (q eventQuery, err error) {
	v, err := parseParameters(r, []string{"type", "code"}, "org_id", "key_id", "actor", "ip", "resource", "from", "to", "order", "cursor", "limit", "wait", "after")
	if err != nil {
		return q, err
	}
	if q.filter.Reach, err = reachOf(p, v.Get("org_id")); err != nil {
		return q, err
	}
	if v.Has("after") {
		after, err := parseAfter(v.Get("after"))
		if err == nil {
			err = s.waitAfter(r.Context(), after)
		}
		if err != nil {
			return q, err
		}
	}
	if v.Has("key_id") {
		if q.filter.Key, err = domain.ParseUsedID(v.Get("key_id")); err != nil {
			return q, domain.InvalidField("key_id", "must be a key's id")
		}
		if k, err := s.Store.Key(q.filter.Reach, q.filter.Key); err == nil {
			q.filter.Reach = domain.Only(k.Org) // its subject alone is read
		}
	}
	if q.filter.Types, err = parseList(v, "type", eventTypes); err != nil {
		return q, err
	}
	if q.filter.Codes, err = parseList(v, "code", domain.Outcomes[:]); err != nil {
		return q, err
	}
	if v.Has("ip") {
		if q.filter.Network, err = parseNetwork(v.Get("ip")); err != nil {
			return q, domain.InvalidField("ip", "must be an address or a network, like 192.0.2.7 or 2001:db8::/32")
		}
	}
	if v.Has("resource") {
		if q.filter.Resource = v.Get("resource"); !validResource(q.filter.Resource) {
			return q, domain.InvalidField("resource", "must be what uses were for, like GET /v1/orders or /v1/orders/*, of at most %d printable characters", maxResource)
		}
	}
	q.filter.Actor = v.Get("actor")
	q.chosen = chosen(v, filterParameters)
	return q, q.parseRange(v, r.Header)
}

// principalID is how the ids of principals look. Another actor finds nothing.
var principalID = regexp.MustCompile(`^((key|user)_[0-9a-z]{26}|[a-z_]{1,20})$`)

// chosen is what some of a query's parameters say, for the trail, on which no secret may come
// that a reader takes for the actor.
func chosen(v url.Values, names []string) map[string]string {
	chosen := map[string]string{}
	for _, name := range names {
		if !v.Has(name) {
			continue
		}
		if chosen[name] = strings.Join(v[name], ","); name == "actor" && !principalID.MatchString(chosen[name]) {
			chosen[name] = "[no principal]"
		}
	}
	return chosen
}

// parseList reads a parameter whose values come one by one or with commas, nil if it is not given.
func parseList[S ~string](v url.Values, name string, words []S) (list []S, err error) {
	if !v.Has(name) {
		return nil, nil
	}
	for _, text := range strings.Split(strings.Join(v[name], ","), ",") {
		if !slices.Contains(words, S(text)) {
			return nil, domain.InvalidField(name, "must be one or more of "+joinWords(words)+", with commas")
		}
		list = append(list, S(text))
	}
	return list, nil
}

func joinWords[S ~string](words []S) string {
	var all []string
	for _, w := range words {
		all = append(all, string(w))
	}
	return strings.Join(all, ", ")
}

var errNetwork = errors.New("not a network")

// parseNetwork reads a network or one address. An IPv4 one that is written as IPv6 is the same.
func parseNetwork(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return a.Unmap().Prefix(a.Unmap().BitLen())
	}
	const mapped = 96 // bits before the IPv4 address
	p, err := netip.ParsePrefix(s)
	if err == nil && p.Addr().Is4In6() {
		if p.Bits() < mapped {
			return p, errNetwork
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
	}
	return p.Masked(), err
}

// eventTypes are the values of the parameter type.
var eventTypes = func() (names []string) {
	for _, t := range domain.EventTypes {
		names = append(names, t.Name)
	}
	return names
}()

// parseRange reads which of the events that the filter chooses are asked for.
func (q *eventQuery) parseRange(v url.Values, h http.Header) (err error) {
	if q.filter.From, q.filter.To, err = parseTimes(v); err != nil {
		return err
	}
	if q.cursor, err = eventstore.ParseCursor(cmp.Or(h.Get("Last-Event-ID"), v.Get("cursor"))); err != nil {
		return domain.InvalidField("cursor", "must be a next_cursor, or the id of a followed event, that this service gave")
	}
	if err := q.parseOrder(v, h); err != nil {
		return err
	}
	q.limit = 100
	if v.Has("limit") {
		if q.limit, err = strconv.Atoi(v.Get("limit")); err != nil || q.limit < 1 || q.limit > 1000 {
			return domain.InvalidField("limit", "must be a whole number from 1 to 1000")
		}
	}
	if v.Has("wait") {
		if q.wait, err = time.ParseDuration(v.Get("wait")); err != nil || q.wait < 0 || q.wait > time.Minute {
			return domain.InvalidField("wait", "must be a duration from 0s to 60s")
		}
	}
	return nil
}

// parseOrder reads which way the cursor moves. What is waited for comes at the end.
func (q *eventQuery) parseOrder(v url.Values, h http.Header) error {
	descending := v.Get("order") == "desc"
	switch {
	case v.Has("order") && !descending && v.Get("order") != "asc":
		return domain.InvalidField("order", "must be asc or desc")
	case q.cursor == eventstore.Cursor{}:
		q.cursor.Descending = descending
	case q.cursor.Descending != descending:
		return domain.InvalidField("cursor", "is of a page in the other order; go on in the order that it was given in, or begin again without one")
	}
	if descending && (v.Has("wait") || strings.Contains(h.Get("Accept"), eventStream)) {
		return domain.InvalidField("order", "is asc for events that are waited for")
	}
	return nil
}
