package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
)

type changePasswordRequest struct {
	WriteHeaders
	Body struct {
		Password string `json:"password" maxLength:"4096" doc:"The present one."`
		New      string `json:"new_password" maxLength:"4096" doc:"12 to 1024 characters."`
	}
}

type changedPasswordAnswer struct {
	Position uint64 `header:"Keytrail-Position"`
}

// changePassword gives the caller another password. Their other sessions end.
func (s *server) changePassword(ctx context.Context, p domain.Principal, in *changePasswordRequest) (*changedPasswordAnswer, error) {
	if p.User == "" {
		return nil, domain.ErrNoSession
	}
	r, err := s.Commands.ChangePassword(ctx, commands.ChangePassword{Request: in.request, Present: domain.NewSecret(in.Body.Password), New: domain.NewSecret(in.Body.New), IP: callerOf(ctx).IP()})
	if err == nil {
		err = s.waitFor(ctx, r.Position)
	}
	return &changedPasswordAnswer{uint64(r.Position)}, err
}

type requestPasswordResetRequest struct {
	WriteHeaders
	ID string `path:"id" maxLength:"64"`
}

type passwordResetAnswer struct {
	CacheControl string `header:"Cache-Control"`
	Position     uint64 `header:"Keytrail-Position"`
	Body         PasswordReset
}

// A PasswordReset is what a product sends to its user.
type PasswordReset struct {
	Token     string    `json:"token,omitempty" doc:"For POST /v1/passwords/reset, in a link that the product mails to the user's address. It is shown once."`
	ExpiresAt time.Time `json:"expires_at"`
}

// requestPasswordReset makes a token.
func (s *server) requestPasswordReset(ctx context.Context, _ domain.Principal, in *requestPasswordResetRequest) (*passwordResetAnswer, error) {
	id, err := domain.ParseUserID(in.ID)
	if err != nil {
		return nil, err
	}
	r, err := s.Commands.RequestPasswordReset(ctx, commands.RequestPasswordReset{Request: in.request, User: id})
	if err == nil {
		err = s.waitFor(ctx, r.Position)
	}
	if err != nil {
		return nil, err
	}
	return &passwordResetAnswer{"no-store", uint64(r.Position), PasswordReset{r.Token.Reveal(), r.ExpiresAt}}, nil
}

// passwordResetBody sets a password by a token.
type passwordResetBody struct {
	Token    string `json:"token" maxLength:"128" doc:"That of the reset."`
	Password string `json:"password" maxLength:"4096" doc:"12 to 1024 characters."`
}

// resetPassword is for who has the token. The user's sessions end.
func (s *server) resetPassword(w http.ResponseWriter, r *http.Request) error {
	ask, err := takeSmall[passwordResetBody](w, r)
	if err != nil {
		return err
	}
	result, err := s.Commands.ResetPassword(r.Context(), commands.ResetPassword{Correlation: requestID(r.Context()), Token: domain.NewSecret(ask.Token),
		Password: domain.NewSecret(ask.Password), IP: s.logInAddress(r)})
	if err == nil {
		err = s.waitFor(r.Context(), result.Position)
	}
	if err != nil {
		return err
	}
	w.Header().Set("Keytrail-Position", strconv.FormatUint(uint64(result.Position), 10))
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *server) documentResetPassword() description {
	return description{summary: "Set a password by the token of a reset", security: openToAll, status: http.StatusNoContent,
		details: "The token is the credential, and is used up with that. All sessions of the user end; the user logs in with the new password.",
		body:    &huma.RequestBody{Content: s.jsonAnswer(passwordResetBody{})}, headers: map[string]string{"Keytrail-Position": "Where the event password.changed is."},
		refusals: []int{http.StatusNotFound, http.StatusTooManyRequests}}
}
