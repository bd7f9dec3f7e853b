package commands

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"

	"github.com/keytrail/keytrail/domain"
)

// UpdateSink gives a sink another definition, or other credentials; nil: as it is. Settings is a
// JSON object of those that change, null for what goes.
type UpdateSink struct {
	Request    `validate:"-"`
	Org        domain.OrgID
	Sink       domain.SinkID
	Name       *string
	URL        *string
	Format     *domain.SinkFormat
	EventTypes *[]string
	Uses       *domain.SinkUses
	Settings   json.RawMessage
}

// UpdateSink carries out c.
func (h *Handler) UpdateSink(ctx context.Context, c UpdateSink) (SinkResult, error) {
	return h.onSink(ctx, c.Org, c.Sink, c.Request, func(s domain.Sink) (domain.Event, error) {
		if !s.Exists() || !c.By.Reaches(s.Org) {
			return nil, domain.ErrSinkNotFound
		}
		update, err := h.updateOf(s, c)
		if err != nil {
			return nil, err
		}
		return s.Update(update)
	})
}

func (h *Handler) updateOf(s domain.Sink, c UpdateSink) (u domain.UpdateSink, err error) {
	before, err := h.OpenCredentials(&s)
	if err != nil {
		return u, err
	}
	d, credentials := s.SinkDefinition, before
	set(&d.Name, c.Name)
	set(&d.URL, c.URL)
	set(&d.Format, c.Format)
	set(&d.EventTypes, c.EventTypes)
	set(&d.Uses, c.Uses)
	given, err := mergeSettings(c.Settings, &d.Settings, &credentials)
	if err != nil {
		return u, err
	}
	if !d.SameReceiver(&s.SinkDefinition) {
		for _, name := range before.Names() {
			if !slices.Contains(given, name) {
				return u, domain.InvalidField("settings."+name, "must be given again, or as null: another receiver does not get the credentials of the one before")
			}
		}
	}
	if err := h.checkSink(&d, &credentials); err != nil {
		return u, err
	}
	u = domain.UpdateSink{Definition: d, Credentials: credentials.Names(), At: h.now(), By: c.By}
	if !reflect.DeepEqual(credentials, before) {
		u.Sealed, err = h.sealCredentials(s.Org, s.ID, &credentials)
	}
	return u, err
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}
