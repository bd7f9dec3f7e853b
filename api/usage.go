package api

import (
	"context"
	"time"

	"github.com/keytrail/keytrail/domain"
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

func (s *server) keyUsage(ctx context.Context, p domain.Principal, in *usageRequest) (*usageAnswer, error) {
	if err := s.waitAfter(ctx, in.AfterParam); err != nil {
		return nil, err
	}
	k, err := s.readableKey(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	step, err := time.ParseDuration(in.Step)
	if err != nil || step < time.Hour || step%time.Hour != 0 || step > maxUsageSpan {
		return nil, domain.InvalidField("step", "must be whole hours, from 1h to 9600h")
	}
	if in.To.IsZero() {
		in.To = s.Now().UTC()
	}
	if in.From.IsZero() {
		in.From = in.To.Add(-24 * time.Hour)
	}
	if !in.From.Before(in.To) || in.To.Sub(in.From) > maxUsageSpan {
		return nil, domain.InvalidField("from", "must be before to, and at most 400 days")
	}
	report, err := s.Store.Usage(k.ID, in.From, in.To, step)
	if err != nil {
		return nil, err
	}
	a := &usageAnswer{}
	a.Body.Key, a.Body.LastUsedAt, a.Body.Totals = k.ID, orNull(report.LastUsedAt), report.Totals
	a.Body.From, a.Body.To, a.Body.Step, a.Body.Steps = in.From.UTC(), in.To.UTC(), domain.Duration(step), []usageStep{}
	if a.Body.Totals == nil {
		a.Body.Totals = outcomeCounts{}
	}
	for _, st := range report.Steps {
		a.Body.Steps = append(a.Body.Steps, usageStep{st.Start, st.Counts})
	}
	return a, nil
}
