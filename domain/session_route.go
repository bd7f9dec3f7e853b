package domain

import (
	"bytes"
	"encoding/json"
	"html"
	"mime"
	"reflect"
	"slices"
	"strings"
	"text/template"
)

// A SessionRoute is a product's own route for the sessions of its users, so that clients which know
// the product's paths and answers need not know the service's.
type SessionRoute struct {
	Method string `json:"method" validate:"oneof=GET POST PUT DELETE"`
	Path   string `json:"path" validate:"required,max=200,route_path"` // like /api/auth/login
	// Does is log_in, switch, sign_out or principal, which tells who one is.
	Does SessionAction `json:"does" validate:"oneof=log_in switch sign_out principal"`
	// Fields are what the client calls the members email, password and org_id of its body.
	Fields  map[string]string `json:"fields,omitempty" validate:"max=3,dive,keys,oneof=email password org_id,endkeys,required,max=64,metakey"`
	Replies []SessionReply    `json:"replies,omitempty" validate:"max=20,dive"` // to the cases that have none, the service's own
}

// A SessionAction is what a session route does.
type SessionAction string

// The actions.
const (
	LogIn         SessionAction = "log_in"
	SwitchSession SessionAction = "switch"
	SignOut       SessionAction = "sign_out"
	ShowPrincipal SessionAction = "principal"
)

// A SessionReply is what a session route answers in some cases. Its body is a text/template with the
// fields of SessionReplyFields.
type SessionReply struct {
	For         []SessionCase     `json:"for" validate:"required,min=1,max=10,unique,dive,oneof=OK INVALID_CREDENTIALS MALFORMED MISSING NO_MEMBER RATE_LIMITED UNAVAILABLE"`
	Status      int               `json:"status" validate:"min=200,max=599"`
	ContentType string            `json:"content_type,omitempty" validate:"omitempty,max=100,media_type"` // "": application/json
	Headers     map[string]string `json:"headers,omitempty" validate:"max=10,dive,keys,max=64,reply_header,endkeys,max=500,header_value"`
	Body        string            `json:"body,omitempty" validate:"max=4096,body_text"`
}

// A SessionCase is what a request of a session route comes to.
type SessionCase string

// The cases.
const (
	SessionOK          SessionCase = "OK"
	SessionWrong       SessionCase = "INVALID_CREDENTIALS" // the user, the password or the session
	SessionMalformed   SessionCase = "MALFORMED"           // the request cannot be read
	SessionMissing     SessionCase = "MISSING"             // there is no session in it
	SessionNoMember    SessionCase = "NO_MEMBER"           // of the organization, or not allowed into it
	SessionRateLimited SessionCase = "RATE_LIMITED"
	SessionUnavailable SessionCase = "UNAVAILABLE"
)

// SessionReplyFields are what the body of a session's reply can show. In JSON and in HTML they are
// escaped.
type SessionReplyFields struct {
	Case       SessionCase
	Status     int
	Token      string // of log_in and switch
	ExpiresAt  string // RFC 3339
	UserID     string
	Email      string
	Name       string
	OrgID      string // "": none
	Role       string // there
	RequestID  string
	RetryAfter int64 // seconds; 0: not known
}

var sessionReplyFields = reflect.TypeFor[SessionReplyFields]()

// Reply is what the route answers in a case; nil: the service's own answer.
func (r *SessionRoute) Reply(c SessionCase) *SessionReply {
	i := slices.IndexFunc(r.Replies, func(reply SessionReply) bool { return slices.Contains(reply.For, c) })
	if i < 0 {
		return nil
	}
	return &r.Replies[i]
}

// Field is what the client calls a member of its body.
func (r *SessionRoute) Field(name string) string {
	if own := r.Fields[name]; own != "" {
		return own
	}
	return name
}

// Render is the reply's body. It was tried when the keyspace was applied, so that it cannot fail.
func (r *SessionReply) Render(f SessionReplyFields) []byte {
	t, _ := r.compile()
	v := reflect.ValueOf(&f).Elem()
	for i := range v.NumField() {
		if v.Field(i).Kind() == reflect.String {
			v.Field(i).SetString(r.escape(v.Field(i).String()))
		}
	}
	var b bytes.Buffer
	_ = t.Execute(&b, f)
	return b.Bytes()
}

func (r *SessionReply) compile() (*template.Template, error) {
	return compileBody(r.Body, sessionReplyFields)
}

func (r *SessionReply) isJSON() bool { return ReplyText{ContentType: r.ContentType}.isJSON() }

// escape makes a text one that is safe between quotes.
func (r *SessionReply) escape(text string) string {
	if !r.isJSON() {
		if kind, _, _ := mime.ParseMediaType(r.ContentType); kind == "text/plain" {
			return text
		}
		return html.EscapeString(text)
	}
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err) // a string
	}
	return strings.TrimSuffix(strings.TrimPrefix(string(quoted), `"`), `"`)
}

// Route is the session route of a method and a path; nil if there is none.
func (p *SessionPolicy) Route(method, path string) *SessionRoute {
	i := slices.IndexFunc(p.Routes, func(r SessionRoute) bool { return r.Path == path && r.Method == method })
	if i < 0 {
		return nil
	}
	return &p.Routes[i]
}

// Methods are those that a path takes.
func (p *SessionPolicy) Methods(path string) (all []string) {
	for _, r := range p.Routes {
		if r.Path == path {
			all = append(all, r.Method)
		}
	}
	return all
}

// check refuses what the tags of the fields cannot tell.
func (p *SessionPolicy) check() error {
	if p == nil {
		return nil
	}
	seen := map[string]bool{}
	for i := range p.Routes {
		r, field := &p.Routes[i], "sessions.routes["+itoa(i)+"]"
		if seen[r.Method+" "+r.Path] {
			return InvalidField(field, "must not have the method and the path of another one")
		}
		seen[r.Method+" "+r.Path] = true
		if r.Method == "GET" && r.Does != ShowPrincipal {
			return InvalidField(field+".method", "must not be GET, which browsers and caches repeat, for what changes something")
		}
		if err := r.checkReplies(field); err != nil {
			return err
		}
	}
	return nil
}

func (r *SessionRoute) checkReplies(field string) error {
	seen := map[SessionCase]bool{}
	for i := range r.Replies {
		reply, field := &r.Replies[i], field+".replies["+itoa(i)+"]"
		for _, c := range reply.For {
			switch {
			case seen[c]:
				return InvalidField(field+".for", "%s has a reply already", c)
			case c != SessionOK && reply.Status < 400:
				return InvalidField(field+".status", "must be from 400 to 599 for %s, which clients would take for success", c)
			}
			seen[c] = true
		}
		if _, err := reply.compile(); err != nil {
			return InvalidField(field+".body", "%s", err)
		}
		for _, f := range []SessionReplyFields{{}, {Case: SessionOK, Status: 200, Token: "t", ExpiresAt: "2026-11-22T12:00:00Z", UserID: "u", Email: `"@example.com`, Name: "\"<\\", OrgID: "o", Role: "member", RequestID: "r", RetryAfter: 1}} {
			if body := reply.Render(f); reply.isJSON() && reply.Body != "" && !json.Valid(body) {
				return InvalidField(field+".body", "is not valid JSON with all fields, or without any; set content_type if it is not to be JSON")
			}
		}
	}
	return nil
}
