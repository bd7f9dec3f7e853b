package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// UpdateOwner gives an owner of keys other attributes. The owner need not have a key yet.
type UpdateOwner struct {
	Request `validate:"-"`
	Org     domain.OrgID `validate:"-"`
	Owner   string       `json:"owner" validate:"required,max=200,text"`
	AttributeChanges
}

// An OwnerResult is an owner after a command. Position is its revision, 0 if it has none.
type OwnerResult struct {
	Owner    domain.Owner
	Position eventstore.Position
	Replayed bool
}

// UpdateOwner carries out c.
func (h *Handler) UpdateOwner(ctx context.Context, c UpdateOwner) (OwnerResult, error) {
	err := valid(c)
	if err == nil {
		err = h.mustExist(ctx, c.Org)
	}
	if err != nil {
		return OwnerResult{}, err
	}
	o, err := executeOnce(ctx, h, eventstore.OwnerRef(c.Org, c.Owner), c.Request, nil, func(o domain.Owner) (domain.Event, error) {
		return o.Update(domain.UpdateOwner{Org: c.Org, Owner: c.Owner, Attributes: c.decision(), At: h.now(), By: c.By})
	})
	return OwnerResult{Owner: o.state, Position: o.position, Replayed: o.replayed}, err
}
