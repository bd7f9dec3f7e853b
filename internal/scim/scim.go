// Package scim is the protocol with which a directory, like Entra ID or Okta, keeps the users and
// groups of a service as its own are: SCIM 2.0 (RFC 7643, RFC 7644), as far as the big directories
// use it. It reads and writes resources, patches and filters; what they mean is its caller's.
//
// It takes what these directories send and the RFCs do not have: an op in upper case, booleans as
// text, a PATCH without a path, members to remove as the value of the op. Attributes that it does
// not keep are ignored wherever they come, as RFC 7644, section 3.3, lets a server do.
package scim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The schemas of what is sent.
const (
	userSchema   = "urn:ietf:params:scim:schemas:core:2.0:User"
	groupSchema  = "urn:ietf:params:scim:schemas:core:2.0:Group"
	errorSchema  = "urn:ietf:params:scim:api:messages:2.0:Error"
	listSchema   = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
	configSchema = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"
	typeSchema   = "urn:ietf:params:scim:schemas:core:2.0:ResourceType"
	schemaSchema = "urn:ietf:params:scim:schemas:core:2.0:Schema"
)

// ContentType is that of every answer.
const ContentType = "application/scim+json"

// An Error is a refusal in SCIM's format (RFC 7644, section 3.12).
type Error struct {
	Status int
	Type   string // a keyword of SCIM; "": there is none for it
	Detail string
}

func (e *Error) Error() string { return e.Detail }

// MarshalJSON writes the status as text, as SCIM has it.
func (e *Error) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Schemas []string `json:"schemas"`
		Status  string   `json:"status"`
		Type    string   `json:"scimType,omitempty"`
		Detail  string   `json:"detail"`
	}{[]string{errorSchema}, strconv.Itoa(e.Status), e.Type, e.Detail})
}

// The keywords of errors (RFC 7644, table 9) that are used.
const (
	InvalidFilter = "invalidFilter"
	InvalidPath   = "invalidPath"
	InvalidSyntax = "invalidSyntax"
	InvalidValue  = "invalidValue"
	NoTarget      = "noTarget"
	Uniqueness    = "uniqueness"
)

func bad(keyword, text string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Type: keyword, Detail: fmt.Sprintf(text, args...)}
}

// Meta is what the service says of a resource.
type Meta struct {
	ResourceType string    `json:"resourceType"`
	Created      time.Time `json:"created"`
	LastModified time.Time `json:"lastModified"`
	Location     string    `json:"location"`
}

// A Reference names another resource: a member of a group, or a group of a user.
type Reference struct {
	Value   string `json:"value"`
	Display string `json:"display,omitempty"`
	Ref     string `json:"$ref,omitempty"`
}

// A List is a page of resources (RFC 7644, section 3.4.2).
type List struct {
	Total int   // of all pages
	Start int   // the place of the first, which is 1
	Items []any // of this page
}

// MarshalJSON writes the list with its schema.
func (l List) MarshalJSON() ([]byte, error) {
	if l.Items == nil {
		l.Items = []any{}
	}
	return json.Marshal(struct {
		Schemas []string `json:"schemas"`
		Total   int      `json:"totalResults"`
		Start   int      `json:"startIndex"`
		PerPage int      `json:"itemsPerPage"`
		Items   []any    `json:"Resources"`
	}{[]string{listSchema}, l.Total, max(l.Start, 1), len(l.Items), l.Items})
}

// A boolean is one that may be sent as text: Entra ID sends "False".
type boolean bool

// UnmarshalJSON takes true, "true" and "True".
func (b *boolean) UnmarshalJSON(data []byte) error {
	v, err := strconv.ParseBool(strings.ToLower(strings.Trim(string(data), `"`)))
	*b = boolean(v)
	return err
}

// decode reads a value; what is called by name must be of that kind.
func decode[T any](data []byte, name, kind string) (v T, err error) {
	if json.Unmarshal(data, &v) != nil {
		return v, bad(InvalidValue, "%s must be %s", name, kind)
	}
	return v, nil
}

// clip keeps a caller's own words short before they are repeated.
func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), 64)], "") }
