package api

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

type principalAnswer struct {
	Body struct {
		ID     string        `json:"id"`
		Org    *domain.OrgID `json:"org_id" doc:"null: the whole installation"`
		Scopes []string      `json:"scopes"`
	}
}

func (s *server) principal(_ context.Context, p domain.Principal, _ *struct{}) (*principalAnswer, error) {
	a := &principalAnswer{}
	a.Body.ID, a.Body.Scopes = p.ID, orEmpty(p.Scopes)
	if !p.Reach().All {
		a.Body.Org = &p.Org
	}
	return a, nil
}
