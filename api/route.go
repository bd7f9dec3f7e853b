package api

import (
	"context"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// bulkRevocation is the route that revokes many keys.
const bulkRevocation = "revokeKeys"

// takesLong are the management routes whose answer may take long: they do many things, each with a
// deadline.
var takesLong = map[string]bool{bulkRevocation: true, "removeUser": true, "removeMember": true, "putDirectory": true}

// A permission is what a route demands of its caller.
type permission struct {
	scope        string // "": none, and why says why not
	installation bool   // the caller must serve the whole installation
	open         bool   // no management credentials are asked for
	why          string
}

// scoped is the permission of a route that keeps to its caller's reach.
func scoped(scope string) permission { return permission{scope: scope} }

// ofInstallation is the permission of a route that shows or changes what belongs to no
// organization alone.
func ofInstallation(scope string) permission { return permission{scope: scope, installation: true} }

// withoutScope is the permission of a route that any caller who is known may ask.
func withoutScope(why string) permission { return permission{why: why} }

// openTo is the permission of a route that asks for no management credentials.
func openTo(why string) permission { return permission{open: true, why: why} }

// A routePermission is a line of the table of who may what, docs/permissions.md.
type routePermission struct {
	id, pattern string
	permission
}

// handle adds a route that is written by hand. No route is added without its permission.
func (s *server) handle(id, pattern string, need permission, f http.HandlerFunc) {
	s.permissions = append(s.permissions, routePermission{id, pattern, need})
	s.mux.HandleFunc(pattern, f)
}

// route adds a management route: f is a function of caller and request.
func route[In, Out any](s *server, id, pattern string, need permission, status int, summary string, f func(context.Context, domain.Principal, *In) (*Out, error)) {
	method, path := cutPattern(pattern)
	this := routePermission{id, pattern, need}
	op := huma.Operation{
		Method: method, Path: path, OperationID: id, Summary: summary, Description: describe("", need), DefaultStatus: status, MaxBodyBytes: maxBody,
		Security: withKey, Errors: append(refusals(method, path, true, false), writeRefusals(method, path)...),
		// takeBody has read the body by then. Huma would set a read deadline of 5 s on the
		// connection, which ends a longer request and every later one on that connection.
		BodyReadTimeout: -1,
		Middlewares:     huma.Middlewares{s.prologue(this)},
	}
	s.permissions = append(s.permissions, this)
	huma.Register(s.huma, op, func(ctx context.Context, in *In) (*Out, error) {
		out, err := f(ctx, callerOf(ctx).Principal, in)
		s.record(requestOf(ctx), callerOf(ctx).Principal, this, err)
		if err != nil {
			return nil, s.asProblem(ctx, err)
		}
		return out, nil
	})
	if reflect.TypeFor[Out]() == reflect.TypeFor[departureAnswer]() {
		s.huma.OpenAPI().Paths[path].Delete.Responses["204"] = &huma.Response{Description: "No Content", Headers: s.huma.OpenAPI().Paths[path].Delete.Responses["200"].Headers}
	}
	if method == http.MethodPut && status == http.StatusOK { // which may create
		responses := s.huma.OpenAPI().Paths[path].Put.Responses
		responses["201"] = responses["200"]
	}
}

// prologue is what comes before the handler of a management route: the caller is authenticated
// and has the permission, the use of its key is on the ledger, and the body is read. All of
// it is done, or refused, within the ledger's deadline from the request's arrival, and
// but for a bulk revocation what the handler does, too.
func (s *server) prologue(route routePermission) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, handler func(huma.Context)) {
		r, w := humago.Unwrap(ctx)
		deadline := time.Now().Add(eventstore.Deadline)
		caller, err := s.authenticate(w, r, route.permission)
		if err == nil {
			err = misreadParameter(r)
		}
		var body []byte
		if err == nil && r.Method != http.MethodGet {
			begun := time.Now()
			body, err = takeBody(w, r)
			deadline = deadline.Add(time.Since(begun)) // which is the caller's, and has a deadline of its own
		}
		if err == nil { // a slow body may have outlived the caller's key
			err = s.Verifier.Recheck(&caller)
		}
		if err != nil {
			s.record(r, caller.Principal, route, err)
			s.problem(w, r, err)
			return
		}
		if !takesLong[route.id] {
			until, cancel := context.WithDeadline(ctx.Context(), deadline)
			defer cancel()
			ctx = huma.WithContext(ctx, until)
		}
		handler(huma.WithValue(huma.WithValue(huma.WithValue(ctx, callerKey, &caller), bodyKey, body), httpRequestKey, r))
	}
}

func cutPattern(pattern string) (method, path string) {
	method, path, _ = strings.Cut(pattern, " ")
	return method, path
}

var pathParameter = regexp.MustCompile(`\{(\w+)\}`)

// open adds a route that is written by hand and asks for no management key before its handler.
func (s *server) open(id, pattern string, need permission, d description, f func(http.ResponseWriter, *http.Request) error) {
	s.handle(id, pattern, need, func(w http.ResponseWriter, r *http.Request) {
		if err := f(w, r); err != nil {
			s.problem(w, r, err)
		}
	})
	s.document(id, pattern, need, d)
}

// raw adds a route that is written by hand: f writes the answer, or returns a refusal before it
// has begun to.
func (s *server) raw(id, pattern string, need permission, d description, f func(http.ResponseWriter, *http.Request, domain.Principal) error) {
	s.handle(id, pattern, need, func(w http.ResponseWriter, r *http.Request) {
		caller, err := s.authenticate(w, r, need)
		// Deferred, because a stream that is broken off panics; its client has read a part.
		defer func() { s.record(r, caller.Principal, routePermission{id, pattern, need}, err) }()
		if err == nil {
			err = f(w, r.WithContext(context.WithValue(r.Context(), callerKey, &caller)), caller.Principal)
		}
		if err != nil {
			s.problem(w, r, err)
		}
	})
	s.document(id, pattern, need, d)
}
