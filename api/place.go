package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A trailPlace is a place in the trail as a request names it: now, beginning, a position of the
// events as a number or a text, or a time. "" is now.
type trailPlace string

// UnmarshalJSON takes numbers, too.
func (p *trailPlace) UnmarshalJSON(text []byte) error {
	if text = bytes.TrimSpace(text); len(text) > 0 && text[0] != '"' {
		*p = trailPlace(text)
		return nil
	}
	return json.Unmarshal(text, (*string)(p))
}

// Schema is a text or a number.
func (trailPlace) Schema(huma.Registry) *huma.Schema {
	longest := 40
	return &huma.Schema{OneOf: []*huma.Schema{{Type: huma.TypeString, MaxLength: &longest}, intSchema(0, 1<<62)}}
}

// place is where a request's field points.
func (s *server) place(ctx context.Context, p trailPlace, field string) (domain.TrailPlace, error) {
	switch p {
	case "", "now":
		return s.trail.EndPlace(ctx)
	case "beginning":
		return domain.TrailPlace{}, nil
	}
	if n, err := strconv.ParseUint(string(p), 10, 63); err == nil {
		place, err := s.trail.PlaceAfter(ctx, eventstore.Position(n))
		if errors.Is(err, eventstore.ErrNoSuchPosition) {
			err = domain.InvalidField(field, "the ledger has no event at this position")
		}
		return place, err
	}
	at, err := time.Parse(time.RFC3339, string(p))
	if err != nil {
		return domain.TrailPlace{}, domain.InvalidField(field, "must be now, beginning, a position of the events or a time like 2026-11-21T12:00:00Z")
	}
	if at.After(s.Now()) {
		return domain.TrailPlace{}, domain.InvalidField(field, "must not be in the future")
	}
	return s.trail.PlaceAt(ctx, at)
}
