package api

import (
	"context"
	"errors"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/projections"
)

// A User is a person as the API shows them. Nothing of the password is here.
type User struct {
	ID                domain.UserID `json:"id"`
	Email             string        `json:"email"`
	Name              string        `json:"name"`
	Status            userStatus    `json:"status"`
	Attributes        attributes    `json:"attributes"`
	Directory         *domain.OrgID `json:"directory_org_id" nullable:"true" doc:"The organization whose directory or provider says that the address is the user's; null: it is the user's own."`
	CreatedAt         time.Time     `json:"created_at"`
	DisabledAt        *time.Time    `json:"disabled_at" nullable:"true"`
	RemovedAt         *time.Time    `json:"removed_at" nullable:"true"`
	HasPassword       bool          `json:"has_password"`
	PasswordChangedAt *time.Time    `json:"password_changed_at" nullable:"true" doc:"null: not since the user was created"`
	Revision          uint64        `json:"revision"`
}

type userStatus domain.UserStatus

func (userStatus) Schema(huma.Registry) *huma.Schema {
	return oneOf([]domain.UserStatus{domain.ActiveUser, domain.DisabledUser, domain.RemovedUser})
}

func showUser(u projections.UserRow) User {
	shown := User{ID: u.ID, Email: u.Email, Name: u.Name, Status: userStatus(u.Status()), Attributes: showAttributes(u.Attributes), CreatedAt: u.CreatedAt,
		DisabledAt: orNull(u.DisabledAt), RemovedAt: orNull(u.RemovedAt), HasPassword: u.Password != "", PasswordChangedAt: orNull(u.PasswordChangedAt), Revision: uint64(u.Revision)}
	if u.Directory != "" {
		shown.Directory = &u.Directory
	}
	return shown
}

type userAnswer struct {
	ETag     string `header:"ETag"`
	Position uint64 `header:"Keytrail-Position"`
	Body     User
}

func answerUser(u projections.UserRow) *userAnswer {
	return &userAnswer{etag(u.Revision), uint64(u.Revision), showUser(u)}
}

// changedUser answers with the user once the change is in the read model.
func (s *server) changedUser(ctx context.Context, r commands.UserResult, err error) (*userAnswer, error) {
	if err == nil {
		err = s.waitFor(ctx, r.Position)
	}
	if err != nil {
		return nil, err
	}
	return answerUser(projections.UserRow{User: r.User, Revision: r.Position}), nil
}

// UserBody is a new user.
type UserBody struct {
	Email      string     `json:"email" doc:"Of one user at most. It is kept in lower case."`
	Name       string     `json:"name,omitempty"`
	Password   string     `json:"password,omitempty" maxLength:"4096" doc:"12 to 1024 characters. Left out: the user has none until one is set by a reset."`
	Attributes attributes `json:"attributes,omitempty"`
}

// TransformSchema states the bounds of the fields.
func (UserBody) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return bounded[commands.CreateUser](r, s)
}

type createUserRequest struct {
	WriteHeaders
	Body UserBody
}

func (s *server) createUser(ctx context.Context, _ domain.Principal, in *createUserRequest) (*userAnswer, error) {
	c := commands.CreateUser{Request: in.request, Email: in.Body.Email, Name: in.Body.Name, Password: domain.NewSecret(in.Body.Password), Attributes: domain.Attributes(in.Body.Attributes)}
	result, err := s.Commands.CreateUser(ctx, c)
	return s.changedUser(ctx, result, err)
}

// UserPath names a user.
type UserPath struct {
	User string `path:"user" maxLength:"64"`
}

type readUserRequest struct {
	UserPath
	AfterParam
}

func (s *server) readUser(ctx context.Context, _ domain.Principal, in *readUserRequest) (*userAnswer, error) {
	id, err := domain.ParseUserID(in.User)
	if err == nil {
		err = s.waitAfter(ctx, in.AfterParam)
	}
	if err != nil {
		return nil, err
	}
	u, err := s.Store.User(id)
	if err != nil {
		return nil, err
	}
	return answerUser(u), nil
}

// UserChanges are what a request changes of a user.
type UserChanges struct {
	Email      *string          `json:"email,omitempty" nullable:"false"`
	Name       *string          `json:"name,omitempty" nullable:"false"`
	Attributes attributeChanges `json:"attributes,omitempty" doc:"Those that are not named stay as they are; null takes one away."`
}

// TransformSchema states the bounds of the fields.
func (UserChanges) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return bounded[commands.UpdateUser](r, s)
}

type updateUserRequest struct {
	WriteHeaders
	UserPath
	Body UserChanges
}

func (s *server) updateUser(ctx context.Context, _ domain.Principal, in *updateUserRequest) (*userAnswer, error) {
	id, err := domain.ParseUserID(in.User)
	if err == nil {
		err = noNulls(ctx)
	}
	if err != nil {
		return nil, err
	}
	result, err := s.Commands.UpdateUser(ctx, commands.UpdateUser{Request: in.request, User: id, Email: in.Body.Email, Name: in.Body.Name,
		AttributeChanges: commands.AttributeChanges{Attributes: in.Body.Attributes}})
	return s.changedUser(ctx, result, err)
}

type changeUserRequest struct {
	WriteHeaders
	UserPath
	Body *struct{} `required:"false"`
}

func (s *server) disableUser(ctx context.Context, _ domain.Principal, in *changeUserRequest) (*userAnswer, error) {
	id, err := domain.ParseUserID(in.User)
	if err != nil {
		return nil, err
	}
	result, err := s.Commands.DisableUser(ctx, commands.DisableUser{Request: in.request, User: id})
	return s.changedUser(ctx, result, err)
}

func (s *server) enableUser(ctx context.Context, _ domain.Principal, in *changeUserRequest) (*userAnswer, error) {
	id, err := domain.ParseUserID(in.User)
	if err != nil {
		return nil, err
	}
	result, err := s.Commands.EnableUser(ctx, commands.EnableUser{Request: in.request, User: id})
	return s.changedUser(ctx, result, err)
}

type removeUserRequest struct {
	WriteHeaders
	UserPath
	Body *DepartureBody `required:"false"`
}

// removeUser makes the read model catch up first: a membership that it does not know stays.
func (s *server) removeUser(ctx context.Context, p domain.Principal, in *removeUserRequest) (*departureAnswer, error) {
	id, err := domain.ParseUserID(in.User)
	if err == nil {
		err = s.waitForEnd(ctx)
	}
	if err != nil {
		return nil, err
	}
	return s.depart(ctx, p, departure{in.request, domain.All, id, in.Body, func() (eventstore.Position, error) {
		result, err := s.Commands.RemoveUser(ctx, commands.RemoveUser{Request: in.request, User: id})
		return result.Position, err
	}})
}

type listUsersRequest struct {
	AfterParam
	Email  string `query:"email" maxLength:"320" doc:"The one whose address it is."`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50"`
	Cursor string `query:"cursor" maxLength:"2048"`
}

type userPage struct {
	Body struct {
		Items      []User  `json:"items"`
		NextCursor *string `json:"next_cursor"`
	}
}

func (s *server) listUsers(ctx context.Context, _ domain.Principal, in *listUsersRequest) (*userPage, error) {
	if err := s.waitAfter(ctx, in.AfterParam); err != nil {
		return nil, err
	}
	found, next, err := s.findUsers(in)
	if err != nil {
		return nil, err
	}
	page := &userPage{}
	page.Body.Items = []User{}
	for _, u := range found {
		page.Body.Items = append(page.Body.Items, showUser(u))
	}
	page.Body.NextCursor = cursorOrNull(next)
	return page, nil
}

func (s *server) findUsers(in *listUsersRequest) (found []projections.UserRow, next string, err error) {
	if in.Email == "" {
		return s.Store.Users(in.Cursor, in.Limit)
	}
	email, err := domain.NormalEmail(in.Email)
	if err != nil {
		return nil, "", err
	}
	u, err := s.Store.UserByEmail(email)
	switch {
	case errors.Is(err, domain.ErrUserNotFound):
		return nil, "", nil
	case err != nil:
		return nil, "", err
	}
	return []projections.UserRow{u}, "", nil
}
