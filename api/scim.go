package api

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/scim"
)

// The routes with which an organization's directory, like Entra ID or Okta, provisions its users and
// groups, in SCIM 2.0. The organization is that of the management key.

const (
	scimBase  = "/v1/scim/v2"
	scimScope = "scim:write"

	// maxSCIMPage bounds the resources of a page, and maxSCIMMembers the members of all its groups: a
	// page may be shorter than was asked for, and says so.
	maxSCIMPage    = 200
	maxSCIMMembers = 20_000
)

// A scimRequest is a directory's request.
type scimRequest struct {
	*http.Request
	principal domain.Principal
	org       domain.OrgID
	body      []byte
}

// command is what commands know the request by.
func (r *scimRequest) command() commands.Request {
	return commands.Request{By: r.principal, Correlation: requestID(r.Context())}
}

// A scimAnswer is the answer to one.
type scimAnswer struct {
	status   int // 0: 200
	resource any // nil: none
	location string
}

// scimRoutes are those of directories.
func (s *server) scimRoutes() {
	s.scim("scimConfig", "GET /ServiceProviderConfig", "Tell which parts of SCIM there are", s.scimConfig)
	s.scim("scimResourceTypes", "GET /ResourceTypes", "List the kinds of resources", s.scimList(scim.ResourceTypes(scimBase)))
	s.scim("scimResourceType", "GET /ResourceTypes/{id}", "Read a kind of resources", s.scimRead(scim.ResourceTypes(scimBase)))
	s.scim("scimSchemas", "GET /Schemas", "List the schemas", s.scimList(scim.Schemas(scimBase)))
	s.scim("scimSchema", "GET /Schemas/{id}", "Read a schema", s.scimRead(scim.Schemas(scimBase)))
	s.scim("scimCreateUser", "POST /Users", "Provision a user", s.scimCreateUser)
	s.scim("scimListUsers", "GET /Users", "List the users of the directory", s.scimListUsers)
	s.scim("scimReadUser", "GET /Users/{id}", "Read a user of the directory", s.scimReadUser)
	s.scim("scimPutUser", "PUT /Users/{id}", "Replace what the directory says of a user", s.scimPutUser)
	s.scim("scimPatchUser", "PATCH /Users/{id}", "Change what the directory says of a user", s.scimPatchUser)
	s.scim("scimDeleteUser", "DELETE /Users/{id}", "Deprovision a user", s.scimDeleteUser)
	s.scim("scimCreateGroup", "POST /Groups", "Provision a group", s.scimCreateGroup)
	s.scim("scimListGroups", "GET /Groups", "List the groups of the directory", s.scimListGroups)
	s.scim("scimReadGroup", "GET /Groups/{id}", "Read a group of the directory", s.scimReadGroup)
	s.scim("scimPutGroup", "PUT /Groups/{id}", "Replace a group", s.scimPutGroup)
	s.scim("scimPatchGroup", "PATCH /Groups/{id}", "Change a group", s.scimPatchGroup)
	s.scim("scimDeleteGroup", "DELETE /Groups/{id}", "Deprovision a group", s.scimDeleteGroup)
}

// scim adds a route of directories: f carries out a request.
func (s *server) scim(id, pattern, summary string, f func(context.Context, *scimRequest) (scimAnswer, error)) {
	method, path := cutPattern(pattern)
	need := scoped(scimScope)
	s.handle(id, method+" "+scimBase+path, need, func(w http.ResponseWriter, r *http.Request) {
		request, err := s.scimRequest(w, r, need)
		var a scimAnswer
		if err == nil {
			a, err = f(r.Context(), request)
		}
		if err != nil {
			s.Commands.RecordRefusal(request.principal, method+" "+scimBase+path, scimScope, err)
			s.scimProblem(w, r, err)
			return
		}
		a.write(w, request)
	})
	s.document(id, method+" "+scimBase+path, need, documentSCIM(pattern, summary))
}

// scimRequest authenticates the caller, which must be of one organization, and reads the body. It
// tells the caller, if that is known, also when it is refused.
func (s *server) scimRequest(w http.ResponseWriter, r *http.Request, need permission) (*scimRequest, error) {
	caller, err := s.authenticate(w, r, need)
	if err == nil && (caller.Org == domain.Installation || caller.Org == "") {
		err = domain.ErrNoDirectory
	}
	request := &scimRequest{Request: r, principal: caller.Principal, org: caller.Org}
	if err != nil || r.Method == http.MethodGet {
		return request, err
	}
	if request.body, err = takeBody(w, r); err == nil {
		err = s.Verifier.Recheck(&caller) // a slow body may have outlived the caller's key
	}
	return request, err
}

// write sends the answer, a single resource with those attributes that the request wants.
func (a scimAnswer) write(w http.ResponseWriter, r *scimRequest) {
	h := w.Header()
	if a.location != "" {
		h.Set("Location", a.location)
	}
	if a.resource == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	h.Set("Content-Type", scim.ContentType)
	w.WriteHeader(cmp.Or(a.status, http.StatusOK))
	if _, list := a.resource.(scim.List); !list {
		a.resource = r.selected(a.resource)
	}
	encode(w, a.resource)
}

// selected is a resource with those of its attributes that the request wants.
func (r *scimRequest) selected(resource any) any {
	query := r.URL.Query()
	return scim.Select(resource, query.Get("attributes"), query.Get("excludedAttributes"))
}

// scimKeywords are SCIM's own words for refusals.
var scimKeywords = map[string]string{
	domain.ErrUserNameTaken.Code:         scim.Uniqueness,
	domain.ErrGroupNameTaken.Code:        scim.Uniqueness,
	domain.ErrGroupMemberUnknown.Code:    scim.InvalidValue,
	domain.InvalidField("body", "").Code: scim.InvalidValue,
}

// scimProblem answers r with err in SCIM's format. The code of a refusal is in its detail.
func (s *server) scimProblem(w http.ResponseWriter, r *http.Request, err error) {
	var refusal *scim.Error
	if !errors.As(err, &refusal) {
		p := s.asProblem(r.Context(), err)
		maps.Copy(w.Header(), p.GetHeaders())
		refusal = &scim.Error{Status: p.Status, Type: scimKeywords[p.Code], Detail: p.Detail + " (" + p.Code + ")"}
	}
	w.Header().Set("Content-Type", scim.ContentType)
	w.WriteHeader(refusal.Status)
	encode(w, refusal)
}

func (s *server) scimConfig(context.Context, *scimRequest) (scimAnswer, error) {
	return scimAnswer{resource: scim.ServiceProviderConfig(scimBase, maxSCIMPage)}, nil
}

func (s *server) scimList(all []any) func(context.Context, *scimRequest) (scimAnswer, error) {
	return func(context.Context, *scimRequest) (scimAnswer, error) {
		return scimAnswer{resource: scim.List{Total: len(all), Items: all}}, nil
	}
}

func (s *server) scimRead(all []any) func(context.Context, *scimRequest) (scimAnswer, error) {
	return func(_ context.Context, r *scimRequest) (scimAnswer, error) {
		for _, one := range all {
			if scim.IDOf(one) == r.PathValue("id") {
				return scimAnswer{resource: one}, nil
			}
		}
		return scimAnswer{}, domain.ErrRouteNotFound
	}
}

// page is where the page begins that r asks for, and how long it may be.
func (r *scimRequest) page() (start, count int, err error) {
	start, err = r.number("startIndex", 1)
	if err == nil {
		count, err = r.number("count", maxSCIMPage)
	}
	return max(start, 1), max(0, min(count, maxSCIMPage)), err
}

func (r *scimRequest) number(name string, otherwise int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		err = domain.InvalidField(name, "must be a whole number")
	}
	return n, err
}

// found calls look and, if what it looks for is missing, again when the read model has all that the
// ledger has: another node may have made it just now.
func found[T any](ctx context.Context, s *server, look func() (v T, missing bool, err error)) (T, error) {
	v, missing, err := look()
	if !missing {
		return v, err
	}
	if err := s.waitForEnd(ctx); err != nil {
		return v, err
	}
	v, _, err = look()
	return v, err
}

// settled is an answer when the read model has what a command wrote.
func (s *server) settled(ctx context.Context, at eventstore.Position, answer func() (scimAnswer, error)) (scimAnswer, error) {
	if err := s.waitFor(ctx, at); err != nil {
		return scimAnswer{}, err
	}
	return answer()
}

// documentSCIM is what the OpenAPI document says of a route of directories.
func documentSCIM(pattern, summary string) description {
	resource := map[string]*huma.MediaType{scim.ContentType: {Schema: &huma.Schema{Type: "object"}}}
	d := description{summary: summary, details: "SCIM 2.0 (RFC 7644), for an organization's directory: with a management key of that organization. Refusals are in SCIM's format.",
		answer: resource, refusal: resource, refusals: []int{401, 403, 404}}
	method, _ := cutPattern(pattern)
	switch {
	case method == http.MethodPost:
		d.status, d.headers = http.StatusCreated, map[string]string{"Location": "Of the resource."}
	case method == http.MethodDelete, pattern == "PATCH /Groups/{id}": // of which the answer might have very many members
		d.status, d.answer = http.StatusNoContent, nil
	}
	if method != http.MethodGet && method != http.MethodDelete {
		d.body = &huma.RequestBody{Content: resource}
	}
	if method != http.MethodGet {
		d.refusals = append(d.refusals, http.StatusConflict)
	}
	return d
}
