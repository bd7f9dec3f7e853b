package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/projections"
)

// A Keyspace is a keyspace as the API shows it: its definition as it was written, and what
// became of it.
type Keyspace struct {
	Name string `json:"name"`
	domain.KeyspaceDefinition
	FormerFormats []domain.Format `json:"former_formats" doc:"Those that it had before. Secrets of theirs stay good."`
	CreatedAt     *time.Time      `json:"created_at" doc:"null: it is built in"`
	RetiredAt     *time.Time      `json:"retired_at" doc:"null: it is not retired"`
	Revision      uint64          `json:"revision" doc:"0: it is as it was built in"`
}

func showKeyspace(k projections.KeyspaceRow) Keyspace {
	return Keyspace{k.Name, k.KeyspaceDefinition, orEmpty(k.Former), orNull(k.CreatedAt), orNull(k.RetiredAt), uint64(k.Revision)}
}

type keyspaceAnswer struct {
	ETag     string `header:"ETag"`
	Position uint64 `header:"Keytrail-Position"`
	Body     Keyspace
}

func answerKeyspace(k projections.KeyspaceRow) *keyspaceAnswer {
	return &keyspaceAnswer{revisionTag(k), uint64(k.Revision), showKeyspace(k)}
}

// revisionTag is the ETag of a keyspace: none of one that is as it was built in.
func revisionTag(k projections.KeyspaceRow) string {
	if k.Revision == 0 {
		return ""
	}
	return etag(k.Revision)
}

// definitionBody is a keyspace without its name, which the path has.
type definitionBody struct{ domain.KeyspaceDefinition }

// TransformSchema states the bounds of the definition.
func (definitionBody) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return bounded[domain.KeyspaceDefinition](r, s)
}

type keyspaceBody struct {
	Name string `json:"name"`
	domain.KeyspaceDefinition
}

// TransformSchema states the bounds of the definition and of the name.
func (keyspaceBody) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return bounded[commands.KeyspaceDefinition](r, s)
}

type defineKeyspaceRequest struct {
	WriteHeaders
	Body keyspaceBody
}

func (s *server) defineKeyspace(ctx context.Context, _ domain.Principal, in *defineKeyspaceRequest) (*keyspaceAnswer, error) {
	if err := s.waitForEnd(ctx); err != nil { // for the formats that it must not overlap
		return nil, err
	}
	result, err := s.Commands.DefineKeyspace(ctx, commands.KeyspaceDefinition{Request: in.request, Name: in.Body.Name, KeyspaceDefinition: in.Body.KeyspaceDefinition})
	return s.changedKeyspace(ctx, result, err)
}

func (s *server) changedKeyspace(ctx context.Context, r commands.KeyspaceResult, err error) (*keyspaceAnswer, error) {
	if err == nil {
		err = s.waitFor(ctx, r.Position)
	}
	if err != nil {
		return nil, err
	}
	return answerKeyspace(projections.KeyspaceRow{Keyspace: r.Keyspace, Revision: r.Position}), nil
}

// KeyspacePath names a keyspace in a path.
type KeyspacePath struct {
	Name string `path:"name" doc:"The keyspace's name." maxLength:"40"`
}

type putKeyspaceRequest struct {
	WriteHeaders
	KeyspacePath
	DryRun bool `query:"dry_run" doc:"Answer the keyspace as it would be, with a plan, and change nothing."`
	Body   definitionBody
}

type putKeyspaceAnswer struct {
	Status   int
	ETag     string `header:"ETag"`
	Position uint64 `header:"Keytrail-Position"`
	Body     struct {
		Keyspace
		Plan *DryRun `json:"plan,omitempty" doc:"Of a dry run: what would happen."`
	}
}

// A DryRun is what a definition would do to a keyspace or a plan.
type DryRun struct {
	Action  string              `json:"action" enum:"create,update,none"`
	Changes []domain.Difference `json:"changes" doc:"Of an update, by field. Entries of lists are named by what identifies them: scopes[invoices:read]."`
}

func newDryRun(created, changed bool, changes []domain.Difference) *DryRun {
	switch {
	case created:
		return &DryRun{"create", orEmpty(changes)}
	case changed:
		return &DryRun{"update", orEmpty(changes)}
	}
	return &DryRun{"none", orEmpty(changes)}
}

func (s *server) putKeyspace(ctx context.Context, _ domain.Principal, in *putKeyspaceRequest) (*putKeyspaceAnswer, error) {
	if err := s.waitForEnd(ctx); err != nil {
		return nil, err
	}
	c := commands.KeyspaceDefinition{Request: in.request, Name: in.Name, KeyspaceDefinition: in.Body.KeyspaceDefinition}
	if in.DryRun {
		return s.planKeyspace(ctx, c)
	}
	result, err := s.Commands.ApplyKeyspace(ctx, c)
	changed, err := s.changedKeyspace(ctx, result, err)
	if err != nil {
		return nil, err
	}
	a := &putKeyspaceAnswer{Status: http.StatusOK, ETag: changed.ETag, Position: changed.Position}
	if a.Body.Keyspace = changed.Body; result.Created {
		a.Status = http.StatusCreated
	}
	return a, nil
}

func (s *server) planKeyspace(ctx context.Context, c commands.KeyspaceDefinition) (*putKeyspaceAnswer, error) {
	result, changes, err := s.Commands.PlanKeyspace(ctx, c)
	if err != nil {
		return nil, err
	}
	planned := answerKeyspace(projections.KeyspaceRow{Keyspace: result.Keyspace, Revision: result.Position})
	a := &putKeyspaceAnswer{Status: http.StatusOK, ETag: planned.ETag, Position: planned.Position}
	a.Body.Keyspace, a.Body.Plan = planned.Body, newDryRun(result.Created, result.Changed, changes)
	return a, nil
}

type readKeyspaceRequest struct {
	KeyspacePath
	AfterParam
}

func (s *server) readKeyspace(ctx context.Context, _ domain.Principal, in *readKeyspaceRequest) (*keyspaceAnswer, error) {
	if err := s.waitAfter(ctx, in.AfterParam); err != nil {
		return nil, err
	}
	k, err := s.Store.Keyspace(in.Name)
	if err != nil {
		return nil, err
	}
	return answerKeyspace(k), nil
}

// keyspaceList is all keyspaces. There are some hundred at most.
type keyspaceList struct {
	Body struct {
		Items []Keyspace `json:"items"`
	}
}

func (s *server) listKeyspaces(ctx context.Context, _ domain.Principal, in *AfterParam) (*keyspaceList, error) {
	if err := s.waitAfter(ctx, *in); err != nil {
		return nil, err
	}
	list := &keyspaceList{}
	list.Body.Items = []Keyspace{}
	for _, name := range s.Store.Keyspaces().Names() {
		k, err := s.Store.Keyspace(name)
		if err != nil {
			return nil, err
		}
		list.Body.Items = append(list.Body.Items, showKeyspace(k))
	}
	return list, nil
}

type retireKeyspaceRequest struct {
	WriteHeaders
	KeyspacePath
	Body *struct{} `required:"false"`
}

func (s *server) retireKeyspace(ctx context.Context, _ domain.Principal, in *retireKeyspaceRequest) (*keyspaceAnswer, error) {
	result, err := s.Commands.RetireKeyspace(ctx, commands.RetireKeyspace{Request: in.request, Name: in.Name})
	return s.changedKeyspace(ctx, result, err)
}

func (s *server) reinstateKeyspace(ctx context.Context, _ domain.Principal, in *retireKeyspaceRequest) (*keyspaceAnswer, error) {
	result, err := s.Commands.ReinstateKeyspace(ctx, commands.RetireKeyspace{Request: in.request, Name: in.Name})
	return s.changedKeyspace(ctx, result, err)
}
