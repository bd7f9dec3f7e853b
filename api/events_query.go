package api

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// An eventQuery is one request for events, within its caller's reach.
type eventQuery struct {
	filter eventstore.Filter
	cursor eventstore.Cursor
	limit  int
	wait   time.Duration
}

func (s *server) parseEvents(r *http.Request, p domain.Principal) (q eventQuery, err error) {
	v, err := parseParameters(r, "type", "org_id", "key_id", "actor", "from", "to", "cursor", "limit", "wait", "after")
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
		if q.filter.Key, err = domain.ParseKeyID(v.Get("key_id")); err != nil {
			return q, domain.InvalidField("key_id", "must be a key's id")
		}
		if k, err := s.Store.Key(q.filter.Reach, q.filter.Key); err == nil {
			q.filter.Reach = domain.Only(k.Org) // its subject alone is read
		}
	}
	if v.Has("type") {
		q.filter.Types = strings.Split(strings.Join(v["type"], ","), ",")
		for _, t := range q.filter.Types {
			if !slices.Contains(eventTypes, t) {
				return q, domain.InvalidField("type", "must be one or more of "+strings.Join(eventTypes, ", ")+", with commas")
			}
		}
	}
	q.filter.Actor = v.Get("actor")
	return q, q.parseRange(v, r.Header.Get("Last-Event-ID"))
}

// eventTypes are the values of the parameter type.
var eventTypes = func() (names []string) {
	for _, t := range domain.EventTypes {
		names = append(names, t.Name)
	}
	return names
}()

// parseRange reads which of the events that the filter chooses are asked for.
func (q *eventQuery) parseRange(v url.Values, lastEventID string) (err error) {
	for _, p := range []struct {
		name string
		at   *time.Time
	}{{"from", &q.filter.From}, {"to", &q.filter.To}} {
		if v.Has(p.name) {
			if *p.at, err = time.Parse(time.RFC3339, v.Get(p.name)); err != nil {
				return domain.InvalidField(p.name, "must be a time like 2026-01-31T12:00:00Z")
			}
		}
	}
	if q.cursor, err = eventstore.ParseCursor(cmp.Or(lastEventID, v.Get("cursor"))); err != nil {
		return domain.InvalidField("cursor", "must be a next_cursor, or the id of a followed event, that this service gave")
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
