package api

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

type reactionsAnswer struct{ Body domain.ReactionStatus }

// readReactions asks the ledger, so that any process can tell, whichever reacts.
func (s *server) readReactions(ctx context.Context, _ domain.Principal, _ *struct{}) (*reactionsAnswer, error) {
	a := &reactionsAnswer{}
	if s.Reactions != nil {
		var err error
		if a.Body, err = s.Reactions.Status(ctx); err != nil {
			return nil, err
		}
	}
	a.Body.Refusals = orEmpty(a.Body.Refusals)
	return a, nil
}
