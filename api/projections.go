package api

import (
	"context"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/projections"
)

type projectionsAnswer struct {
	Body struct {
		Items []projections.ProjectionStatus `json:"items"`
	}
}

func (s *server) listProjections(context.Context, domain.Principal, *struct{}) (*projectionsAnswer, error) {
	a := &projectionsAnswer{}
	a.Body.Items = s.Store.Status()
	return a, nil
}

type rebuildRequest struct {
	Name string `path:"name" maxLength:"64"`
}

// startRebuild answers at once: the rebuild belongs to the service, not to the request.
func (s *server) startRebuild(ctx context.Context, p domain.Principal, in *rebuildRequest) (*projectionsAnswer, error) {
	if err := s.Store.StartRebuild(in.Name); err != nil {
		return nil, err
	}
	return s.listProjections(ctx, p, nil)
}

// cancelRebuild waits a moment for the rebuild to end, which takes its rows away first.
func (s *server) cancelRebuild(ctx context.Context, p domain.Principal, in *rebuildRequest) (*projectionsAnswer, error) {
	waiting, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	if err := s.Store.CancelRebuild(waiting, in.Name); err != nil {
		return nil, err
	}
	return s.listProjections(ctx, p, nil)
}
