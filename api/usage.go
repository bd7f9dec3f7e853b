package api

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/projections"
)

type usageRequest struct {
	KeyPath
	AfterParam
	From time.Time `query:"from" doc:"Default: 24 hours before to."`
	To   time.Time `query:"to" doc:"Default: now."`
	Step string    `query:"step" default:"1h" doc:"Whole hours, like 1h or 24h."`
}

type usageAnswer struct {
	Body struct {
		Key        domain.KeyID    `json:"key_id"`
		LastUsedAt *time.Time      `json:"last_used_at"`
		Totals     outcomeCounts   `json:"totals" doc:"Uses by outcome since the key began."`
		From       time.Time       `json:"from"`
		To         time.Time       `json:"to"`
		Step       domain.Duration `json:"step"`
		Steps      []usageStep     `json:"steps" doc:"Those with a use, oldest first."`
	}
}

type usageStep struct {
	Start  time.Time     `json:"start"`
	Counts outcomeCounts `json:"counts"`
}

// maxUsageSpan bounds what one report covers.
const maxUsageSpan = 400 * 24 * time.Hour

// A usageSpan is what a report of uses covers, and how it is cut.
type usageSpan struct {
	from, to time.Time
	step     time.Duration
}

func (s *server) usageSpan(from, to time.Time, step string) (span usageSpan, err error) {
	d, err := time.ParseDuration(step)
	if err != nil || d < time.Hour || d%time.Hour != 0 || d > maxUsageSpan {
		return span, domain.InvalidField("step", "must be whole hours, from 1h to 9600h")
	}
	if to.IsZero() {
		to = s.Now().UTC()
	}
	if from.IsZero() {
		from = to.Add(-24 * time.Hour)
	}
	if !from.Before(to) || to.Sub(from) > maxUsageSpan {
		return span, domain.InvalidField("from", "must be before to, and at most 400 days")
	}
	return usageSpan{from, to, d}, nil
}

func (s *server) keyUsage(ctx context.Context, p domain.Principal, in *usageRequest) (*usageAnswer, error) {
	if err := s.waitAfter(ctx, in.AfterParam); err != nil {
		return nil, err
	}
	k, err := s.readableKey(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	span, err := s.usageSpan(in.From, in.To, in.Step)
	if err != nil {
		return nil, err
	}
	report, err := s.Store.Usage(k.ID, span.from, span.to, span.step)
	if err != nil {
		return nil, err
	}
	a := &usageAnswer{}
	a.Body.Key, a.Body.LastUsedAt, a.Body.Totals = k.ID, orNull(report.LastUsedAt), report.Totals
	a.Body.From, a.Body.To, a.Body.Step, a.Body.Steps = span.from.UTC(), span.to.UTC(), domain.Duration(span.step), []usageStep{}
	if a.Body.Totals == nil {
		a.Body.Totals = outcomeCounts{}
	}
	for _, st := range report.Steps {
		a.Body.Steps = append(a.Body.Steps, usageStep{st.Start, st.Counts})
	}
	return a, nil
}

type listUsageRequest struct {
	AfterParam
	Org    string    `query:"org_id" maxLength:"64" doc:"Of this organization's keys."`
	From   time.Time `query:"from" doc:"Default: 24 hours before to."`
	To     time.Time `query:"to" doc:"Default: now."`
	Step   string    `query:"step" default:"24h" doc:"Whole hours, like 1h or 24h."`
	Limit  int       `query:"limit" minimum:"1" maximum:"200" default:"200" doc:"Keys that a page sums up."`
	Cursor string    `query:"cursor" maxLength:"2048"`
}

// usagePage sums the uses of some keys up.
type usagePage struct {
	Body struct {
		From       time.Time       `json:"from"`
		To         time.Time       `json:"to"`
		Step       domain.Duration `json:"step"`
		Steps      []usageStep     `json:"steps" doc:"Those with a use of one of the page's keys, oldest first."`
		Keys       []keyUses       `json:"keys" doc:"Those of the page's keys that were used."`
		NextCursor *string         `json:"next_cursor" doc:"null at the end, and only there: a page may have no keys and not be the last. Add the pages up."`
	}
}

type keyUses struct {
	Key    domain.KeyID  `json:"key_id"`
	Name   string        `json:"name"`
	Counts outcomeCounts `json:"counts"`
}

// listUsage sums up the usage of a page of keys, in the order of their creation. A report of many
// keys takes a request for two hundred, and one of a year reads some ten thousand rows.
func (s *server) listUsage(ctx context.Context, p domain.Principal, in *listUsageRequest) (*usagePage, error) {
	if err := s.waitAfter(ctx, in.AfterParam); err != nil {
		return nil, err
	}
	reach, err := reachOf(p, in.Org)
	if err != nil {
		return nil, err
	}
	span, err := s.usageSpan(in.From, in.To, in.Step)
	if err != nil {
		return nil, err
	}
	page, err := s.Store.Keys(projections.KeyQuery{Reach: reach, Sort: "created_at", Limit: in.Limit, Cursor: in.Cursor, Now: s.Now()})
	if err != nil {
		return nil, err
	}
	a := &usagePage{}
	a.Body.From, a.Body.To, a.Body.Step, a.Body.Keys = span.from.UTC(), span.to.UTC(), domain.Duration(span.step), []keyUses{}
	sums := map[int64]outcomeCounts{}
	for _, k := range page.Keys {
		report, err := s.Store.Usage(k.ID, span.from, span.to, span.step)
		if err != nil {
			return nil, err
		}
		if len(report.Steps) > 0 {
			a.Body.Keys = append(a.Body.Keys, keyUses{k.ID, k.Name, addSteps(sums, report.Steps)})
		}
	}
	a.Body.Steps = make([]usageStep, 0, len(sums))
	for _, start := range slices.Sorted(maps.Keys(sums)) {
		a.Body.Steps = append(a.Body.Steps, usageStep{time.UnixMilli(start).UTC(), sums[start]})
	}
	a.Body.NextCursor = cursorOrNull(page.NextCursor)
	return a, nil
}

// addSteps adds a key's steps to the sums by their beginnings, and gives their total.
func addSteps(sums map[int64]outcomeCounts, steps []projections.UsageStep) outcomeCounts {
	total := outcomeCounts{}
	for _, step := range steps {
		start := step.Start.UnixMilli()
		if sums[start] == nil {
			sums[start] = outcomeCounts{}
		}
		for outcome, n := range step.Counts {
			sums[start][outcome] += n
			total[outcome] += n
		}
	}
	return total
}
