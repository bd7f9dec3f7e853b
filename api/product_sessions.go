package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
)

// productSession answers a session route of a product, which its keyspace declares.
func (s *server) productSession(w http.ResponseWriter, r *http.Request) error {
	k, err := s.Store.Keyspaces().Named(r.PathValue("keyspace"))
	if err != nil || k.Sessions == nil {
		return domain.ErrRouteNotFound
	}
	path := "/" + r.PathValue("path")
	route := k.Sessions.Route(r.Method, path)
	if route == nil {
		return wrongMethod(w, k.Sessions.Methods(path))
	}
	session, err := s.routeSession(w, r, route)
	reply := route.Reply(sessionCase(err))
	switch {
	case reply != nil:
		s.replySession(w, r, reply, session, err)
		return nil
	case err == nil:
		w.Header().Set("Cache-Control", "no-store")
		writeJSON(w, session)
	}
	return err
}

// wrongMethod refuses a method that a path does not take, or a path that takes none.
func wrongMethod(w http.ResponseWriter, methods []string) error {
	if methods == nil {
		return domain.ErrRouteNotFound
	}
	allow := strings.Join(methods, ", ")
	w.Header().Set("Allow", allow)
	return newProblem(http.StatusMethodNotAllowed, "method_not_allowed", "this path takes "+allow)
}

// routeSession does what the route does. The session is the new one, or the caller's.
func (s *server) routeSession(w http.ResponseWriter, r *http.Request, route *domain.SessionRoute) (SessionToken, error) {
	fields, err := sessionFields(w, r, route)
	if err != nil {
		return SessionToken{}, err
	}
	if route.Does == domain.LogIn {
		return sessionIn(s.logInWith(r, logInBody{fields["email"], fields["password"], fields["org_id"]}))
	}
	caller, err := s.authenticate(w, r, withoutScope("the session is the credential"))
	if err != nil {
		return SessionToken{}, err
	}
	ctx, p := context.WithValue(r.Context(), callerKey, &caller), caller.Principal
	headers := WriteHeaders{request: commands.Request{By: p, Correlation: requestID(ctx)}}
	switch route.Does {
	case domain.SwitchSession:
		in := &switchSessionRequest{WriteHeaders: headers}
		in.Body.Org = fields["org_id"]
		return sessionIn(s.switchSession(ctx, p, in))
	case domain.SignOut:
		_, err := s.signOut(ctx, p, &signOutRequest{headers})
		return SessionToken{}, err
	}
	return s.presentSession(p)
}

func sessionIn(a *sessionTokenAnswer, err error) (SessionToken, error) {
	if err != nil {
		return SessionToken{}, err
	}
	return a.Body, nil
}

// presentSession is the session that asks, without its token.
func (s *server) presentSession(p domain.Principal) (SessionToken, error) {
	x, err := s.ownSession(p)
	if err != nil {
		return SessionToken{}, err
	}
	u, err := s.Store.User(x.User)
	return SessionToken{ExpiresAt: x.ExpiresAt, Session: x.ID, User: sessionUser{u.ID, u.Email, u.User.Name}, Org: orgOrNull(x.Org)}, err
}

// sessionFields are those members of the body that the route knows. Others are the product's own.
func sessionFields(w http.ResponseWriter, r *http.Request, route *domain.SessionRoute) (map[string]string, error) {
	body, err := takeSmallBody(w, r)
	if err != nil || len(body) == 0 {
		return nil, err
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil {
		return nil, domain.InvalidField("", "the body must be a JSON object")
	}
	fields := map[string]string{}
	for _, name := range []string{"email", "password", "org_id"} {
		own := route.Field(name)
		text, there := members[own]
		if there && string(text) != "null" {
			var value string
			if json.Unmarshal(text, &value) != nil {
				return nil, domain.InvalidField(own, "must be a text")
			}
			fields[name] = value
		}
	}
	return fields, nil
}

// sessionCase is the case that an error is.
func sessionCase(err error) domain.SessionCase {
	var refusal *domain.Error
	switch {
	case err == nil:
		return domain.SessionOK
	case errors.Is(err, domain.ErrMissingCredentials):
		return domain.SessionMissing
	case !errors.As(err, &refusal):
		return domain.SessionUnavailable
	}
	switch refusal.Kind {
	case domain.Unauthenticated:
		return domain.SessionWrong
	case domain.Invalid, domain.TooLarge:
		return domain.SessionMalformed
	case domain.Forbidden, domain.NotFound, domain.Conflict:
		return domain.SessionNoMember
	case domain.Exhausted:
		return domain.SessionRateLimited
	}
	return domain.SessionUnavailable
}

// replySession answers as the keyspace says.
func (s *server) replySession(w http.ResponseWriter, r *http.Request, reply *domain.SessionReply, session SessionToken, err error) {
	f := domain.SessionReplyFields{Case: sessionCase(err), Status: reply.Status, RequestID: requestID(r.Context())}
	h := w.Header()
	if err == nil {
		f.Token, f.UserID, f.Email, f.Name = session.Token, string(session.User.ID), session.User.Email, session.User.Name
		if !session.ExpiresAt.IsZero() {
			f.ExpiresAt = session.ExpiresAt.UTC().Format(time.RFC3339)
		}
		if session.Org != nil {
			f.OrgID = string(*session.Org)
		}
	} else {
		problem := s.asProblem(r.Context(), err)
		f.RetryAfter = problem.retryAfter()
		for name, values := range problem.GetHeaders() {
			h[name] = values
		}
	}
	body := reply.Render(f)
	for name, value := range reply.Headers {
		h.Set(name, value)
	}
	h.Set("Cache-Control", "no-store")
	if kind := reply.ContentType; kind != "" {
		h.Set("Content-Type", kind)
	} else if len(body) > 0 {
		h.Set("Content-Type", "application/json")
	}
	w.WriteHeader(reply.Status)
	_, _ = w.Write(body) // the client may be gone
}

func (s *server) documentProductSession() description {
	return description{summary: "A session route of a product", security: openToAll,
		details:  "Which paths there are, what they do and what they answer, the keyspace says under sessions.routes; a gateway passes the product's own paths on to here.",
		refusals: []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests}}
}
