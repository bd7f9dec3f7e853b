package api

import (
	"context"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/projections"
)

// ownerAnswer are an owner's attributes. One that has no history has no ETag.
type ownerAnswer struct {
	ETag     string `header:"ETag"`
	Position uint64 `header:"Keytrail-Position"`
	Body     attributes
}

func answerOwner(o projections.OwnerRow) *ownerAnswer {
	a := &ownerAnswer{Position: uint64(o.Revision), Body: showAttributes(o.Attributes)}
	if o.Revision != 0 {
		a.ETag = etag(o.Revision)
	}
	return a
}

// OwnerPath names an owner of keys of an organization.
type OwnerPath struct {
	Owner string `path:"owner" doc:"As keys have it, percent-encoded." maxLength:"200"`
	Org   string `query:"org_id" doc:"The organization; left out: the caller's own." maxLength:"64"`
}

type readOwnerRequest struct {
	OwnerPath
	AfterParam
}

func (s *server) readOwnerAttributes(ctx context.Context, p domain.Principal, in *readOwnerRequest) (*ownerAnswer, error) {
	org, err := within(p, in.Org)
	if err == nil {
		err = s.waitAfter(ctx, in.AfterParam)
	}
	if err != nil {
		return nil, err
	}
	o, err := s.Store.Owner(org, in.Owner)
	if err != nil {
		return nil, err
	}
	return answerOwner(o), nil
}

type replaceOwnerRequest struct {
	WriteHeaders
	OwnerPath
	Body attributes
}

func (s *server) replaceOwnerAttributes(ctx context.Context, p domain.Principal, in *replaceOwnerRequest) (*ownerAnswer, error) {
	return s.changeOwner(ctx, p, in.WriteHeaders, in.OwnerPath, in.Body.replace())
}

type updateOwnerRequest struct {
	WriteHeaders
	OwnerPath
	Body attributeChanges
}

func (s *server) updateOwnerAttributes(ctx context.Context, p domain.Principal, in *updateOwnerRequest) (*ownerAnswer, error) {
	return s.changeOwner(ctx, p, in.WriteHeaders, in.OwnerPath, commands.AttributeChanges{Attributes: in.Body})
}

// changeOwner answers with the owner once the change is in the read model.
func (s *server) changeOwner(ctx context.Context, p domain.Principal, h WriteHeaders, in OwnerPath, c commands.AttributeChanges) (*ownerAnswer, error) {
	org, err := within(p, in.Org)
	if err != nil {
		return nil, err
	}
	result, err := s.Commands.UpdateOwner(ctx, commands.UpdateOwner{Request: h.request, Org: org, Owner: in.Owner, AttributeChanges: c})
	if err == nil {
		err = s.waitFor(ctx, result.Position)
	}
	if err != nil {
		return nil, err
	}
	return answerOwner(projections.OwnerRow{Owner: result.Owner, Revision: result.Position}), nil
}
