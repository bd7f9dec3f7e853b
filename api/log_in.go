package api

import (
	"io"
	"net/http"
	"net/netip"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
)

// logInBody is who wants a session.
type logInBody struct {
	Email    string `json:"email" maxLength:"254"`
	Password string `json:"password" maxLength:"4096"`
	Org      string `json:"org_id,omitempty" maxLength:"64" doc:"Of which the user is a member. Left out: the first that takes passwords, or none."`
}

// logIn begins a session by e-mail address and password.
func (s *server) logIn(w http.ResponseWriter, r *http.Request) error {
	ask, err := takeSmall[logInBody](w, r)
	if err != nil {
		return err
	}
	answer, err := s.logInWith(r, ask)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", answer.CacheControl)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Keytrail-Position", strconv.FormatUint(answer.Position, 10))
	w.WriteHeader(http.StatusCreated)
	encode(w, answer.Body)
	return nil
}

// logInWith begins a session of who asks.
func (s *server) logInWith(r *http.Request, ask logInBody) (_ *sessionTokenAnswer, err error) {
	var org domain.OrgID
	if ask.Org != "" {
		if org, err = domain.ParseOrgID(ask.Org); err != nil {
			return nil, err
		}
	}
	begin := commands.LogIn{Email: ask.Email, Password: domain.NewSecret(ask.Password), Org: org, IP: s.logInAddress(r), UserAgent: r.UserAgent(), Correlation: requestID(r.Context())}
	u, begun, err := s.Commands.LogIn(r.Context(), begin)
	return s.showBegun(r.Context(), u, begun, err)
}

// logInAddress is the client's address; the zero Addr if only a trusted proxy's is known, behind which
// are clients that have nothing to do with each other.
func (s *server) logInAddress(r *http.Request) netip.Addr {
	ip := s.clientIP(r)
	if s.trusted(ip) {
		return netip.Addr{}
	}
	return ip
}

// maxSmallBody is what the body of an open request may have that has a password at most, with every
// character of it escaped.
const maxSmallBody = 16 << 10

// takeSmall reads the body of an open request.
func takeSmall[T any](w http.ResponseWriter, r *http.Request) (ask T, err error) {
	body, err := takeSmallBody(w, r)
	if err != nil {
		return ask, err
	}
	return decodeStrict[T](body, "body")
}

func takeSmallBody(w http.ResponseWriter, r *http.Request) (body []byte, err error) {
	err = readBody(w, domain.ErrPasswordTooLarge, func() error {
		body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxSmallBody))
		return err
	})
	return body, err
}

func (s *server) documentLogIn() description {
	return description{summary: "Log in with e-mail address and password", security: openToAll, status: http.StatusCreated,
		details: "Whatever is wrong, that there is no such user or that the password is another one, the answer is invalid_credentials. Wrong passwords are followed by waits: 429 with Retry-After.",
		body:    &huma.RequestBody{Content: s.jsonAnswer(logInBody{})}, answer: s.jsonAnswer(SessionToken{}), headers: map[string]string{"Keytrail-Position": "Where the session began."},
		refusals: []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests}}
}
