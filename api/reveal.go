package api

import (
	"context"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
)

type revealKeyRequest struct {
	KeyPath
	Body *struct{} `required:"false"`
}

type revealKeyAnswer struct {
	Position uint64 `header:"Keytrail-Position"`
	NoStore  string `header:"Cache-Control"`
	Body     struct {
		Secret string `json:"secret" doc:"The key's newest secret."`
	}
}

// revealKey takes no Idempotency-Key: each time that a secret is shown is an event.
func (s *server) revealKey(ctx context.Context, p domain.Principal, in *revealKeyRequest) (*revealKeyAnswer, error) {
	org, id, err := s.writableKey(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	r, err := s.Commands.RevealKey(ctx, commands.RevealKey{Request: commands.Request{By: p, Correlation: requestID(ctx)}, Org: org, Key: id})
	if err != nil {
		return nil, err
	}
	a := &revealKeyAnswer{Position: uint64(r.Position), NoStore: "no-store"}
	a.Body.Secret = r.Secret.Reveal()
	return a, nil
}
