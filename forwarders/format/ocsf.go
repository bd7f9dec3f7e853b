package format

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// The Open Cybersecurity Schema Framework's version and its classes that events are of: changes are
// Entity Management, verifications Authentication, and what is done with the API of the service
// itself API Activity.
const (
	ocsfVersion          = "1.8.0"
	ocsfIdentity         = 3
	ocsfApplication      = 6
	ocsfAuthentication   = 3002
	ocsfEntityManagement = 3004
	ocsfAPIActivity      = 6003

	ocsfLogon        = 1  // activity of Authentication
	ocsfOtherType    = 99 // of whatever has a type_id
	ocsfOrganization = 4  // type of a managed entity
	ocsfAPIToken     = 7  // type of a token
	ocsfSuccess      = 1
	ocsfFailure      = 2
)

type ocsfEvent struct {
	ActivityID   activity      `json:"activity_id"`
	ActivityName string        `json:"activity_name,omitempty"`
	CategoryUID  int           `json:"category_uid"`
	ClassUID     int           `json:"class_uid"`
	TypeUID      int           `json:"type_uid"`
	Time         int64         `json:"time"`
	SeverityID   severity      `json:"severity_id"`
	StatusID     int           `json:"status_id"`
	StatusCode   string        `json:"status_code,omitempty"`
	StatusDetail string        `json:"status_detail,omitempty"`
	Message      string        `json:"message"`
	Metadata     ocsfMetadata  `json:"metadata"`
	Actor        *ocsfActor    `json:"actor,omitempty"`
	Source       *ocsfEndpoint `json:"src_endpoint,omitempty"`
	HTTPRequest  *ocsfHTTP     `json:"http_request,omitempty"`
	Count        int64         `json:"count,omitempty"`
	Start        int64         `json:"start_time,omitempty"`
	End          int64         `json:"end_time,omitempty"`
	Comment      string        `json:"comment,omitempty"` // of Entity Management
	Entity       *ocsfEntity   `json:"entity,omitempty"`  // of Entity Management

	AuthProtocolID int          `json:"auth_protocol_id,omitempty"` // of Authentication, and so on
	AuthProtocol   string       `json:"auth_protocol,omitempty"`
	IsRemote       bool         `json:"is_remote,omitempty"`
	User           *ocsfUser    `json:"user,omitempty"`
	Service        *ocsfService `json:"service,omitempty"`

	API      *ocsfAPI `json:"api,omitempty"` // of API Activity
	Unmapped any      `json:"unmapped,omitempty"`
}

type ocsfMetadata struct {
	Version     string      `json:"version"`
	Product     ocsfProduct `json:"product"`
	UID         string      `json:"uid"`
	OriginalUID string      `json:"original_event_uid"`
	Sequence    uint64      `json:"sequence"`
	TenantUID   string      `json:"tenant_uid"`
	LogName     string      `json:"log_name"`
	EventCode   string      `json:"event_code"`
	Correlation string      `json:"correlation_uid,omitempty"`
	Logged      int64       `json:"logged_time,omitempty"`
}

type ocsfProduct struct {
	Name       string `json:"name"`
	VendorName string `json:"vendor_name"`
}

type ocsfActor struct {
	User ocsfUser `json:"user"`
}

type ocsfUser struct {
	UID          string           `json:"uid,omitempty"`
	Name         string           `json:"name,omitempty"`
	TypeID       int              `json:"type_id,omitempty"`
	Type         string           `json:"type,omitempty"`
	Organization *ocsfNamed       `json:"org,omitempty"`
	Credentials  []ocsfCredential `json:"programmatic_credentials,omitempty"`
}

type ocsfCredential struct {
	UID      string `json:"uid"`
	Type     string `json:"type"`
	LastUsed int64  `json:"last_used_time"`
}

type ocsfNamed struct {
	UID  string `json:"uid"`
	Name string `json:"name,omitempty"`
}

type ocsfEndpoint struct {
	IP   string `json:"ip,omitempty"`
	Name string `json:"name,omitempty"`
}

type ocsfHTTP struct {
	Method string  `json:"http_method"`
	URL    ocsfURL `json:"url"`
}

type ocsfURL struct {
	Path string `json:"path"`
}

type ocsfEntity struct {
	UID          string       `json:"uid"`
	Name         string       `json:"name,omitempty"`
	TypeID       int          `json:"type_id"`
	Type         string       `json:"type"`
	Organization *ocsfNamed   `json:"org,omitempty"`
	Data         domain.Event `json:"data"`
}

type ocsfService struct {
	Name string `json:"name"`
}

type ocsfAPI struct {
	Operation string      `json:"operation"`
	Service   ocsfService `json:"service"`
	Token     *ocsfToken  `json:"token,omitempty"`
}

type ocsfToken struct {
	UID       string `json:"uid"`
	TypeID    int    `json:"type_id"`
	TenantUID string `json:"tenant_uid"`
}

// ocsfUnmapped are facts of uses that the schema has no place for.
type ocsfUnmapped struct {
	Scopes    []string `json:"scopes,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
	Resources []string `json:"resources,omitempty"`
}

// The product and the service that events are of.
var (
	ocsfKeytrail   = ocsfProduct{Name: "Keytrail", VendorName: "Keytrail"}
	ocsfOfKeytrail = ocsfService{Name: "keytrail"}
)

// entityTypes are what the aggregates are called.
var entityTypes = map[string]string{
	"key": "API Key", "token": "API Key", "quota": "Quota", "organization": "Organization", "owner": "Owner",
	"keyring": "Keyring", "keyspace": "Keyspace", "plan": "Plan", "sink": "Sink", "trail": "Audit Trail",
	"user": "User", "password": "User", "identity": "User", "address": "User", "membership": "Organization", "role": "Organization", "invitation": "Organization", "directory": "Organization",
	"session": "Session", "session_keys": "Keyring", "sessions": "User",
	"login": "User", "sso": "Organization",
}

// ocsf is an event of OCSF.
func ocsf(id string, r *eventstore.Record) ([]byte, error) {
	f, ok := factsOf(r)
	if !ok {
		return nil, fmt.Errorf("%s has no place in OCSF", r.Type)
	}
	e := f.ocsfBase(id)
	switch {
	case f.management:
		f.asAPIActivity(&e)
	case f.Stream == eventstore.Uses:
		f.asAuthentication(&e)
	default:
		f.asEntityManagement(&e)
	}
	e.TypeUID = e.ClassUID*100 + int(e.ActivityID)
	return json.Marshal(&e)
}

// ocsfBase is what events of all classes have.
func (f *facts) ocsfBase(id string) ocsfEvent {
	e := ocsfEvent{
		ActivityID: f.activity, Time: f.Time.UnixMilli(), SeverityID: f.severity, StatusID: ocsfSuccess,
		StatusCode: f.code, Message: f.text,
		Metadata: ocsfMetadata{
			Version: ocsfVersion, Product: ocsfKeytrail, UID: id, OriginalUID: f.originalID(), Sequence: uint64(f.Position),
			TenantUID: string(f.Org), LogName: f.Stream.String(), EventCode: f.Type, Correlation: f.request, Logged: milliseconds(f.Stored),
		},
		Count: f.count, Start: milliseconds(f.start), End: milliseconds(f.end),
	}
	if f.refused {
		e.StatusID = ocsfFailure
	}
	if f.activity == other {
		e.ActivityName = f.text
	}
	if f.by != "" {
		e.Actor = &ocsfActor{ocsfUser{UID: f.by}}
	}
	if a := f.address(); a != "" {
		e.Source = &ocsfEndpoint{IP: a}
	}
	if method, path, ok := f.call(); ok {
		e.HTTPRequest = &ocsfHTTP{method, ocsfURL{path}}
	}
	if f.scopes != nil || len(f.addresses) > 1 || f.resources != nil && e.HTTPRequest == nil {
		e.Unmapped = ocsfUnmapped{f.scopes, f.addresses, f.resources}
	}
	return e
}

func (f *facts) asEntityManagement(e *ocsfEvent) {
	e.CategoryUID, e.ClassUID = ocsfIdentity, ocsfEntityManagement
	e.Entity = &ocsfEntity{UID: f.Subject, Name: f.name, TypeID: ocsfOtherType, Type: entityTypes[f.kind], Data: f.Event}
	if f.kind == "organization" {
		e.Entity.TypeID, e.Entity.Organization = ocsfOrganization, &ocsfNamed{f.Subject, f.name}
	}
	e.StatusDetail = f.detail
	if f.activity == remove || f.activity == suspend {
		e.Comment = f.detail
	}
}

func (f *facts) asAuthentication(e *ocsfEvent) {
	e.CategoryUID, e.ClassUID, e.ActivityID, e.ActivityName = ocsfIdentity, ocsfAuthentication, ocsfLogon, ""
	e.AuthProtocolID, e.AuthProtocol, e.IsRemote = ocsfOtherType, "API key", true
	e.Service = &ocsfOfKeytrail
	if f.Type == typeRefused {
		e.User = &ocsfUser{Name: "unknown"}
		return
	}
	e.User = &ocsfUser{
		UID: f.Subject, TypeID: ocsfOtherType, Type: "API Key", Organization: &ocsfNamed{UID: string(f.Org)},
		Credentials: []ocsfCredential{{UID: f.Subject, Type: "API Key", LastUsed: e.Time}},
	}
}

// asAPIActivity is of a call that a management key was accepted for, or of such calls that are
// summed up. What
// the call then changed are events of their own.
func (f *facts) asAPIActivity(e *ocsfEvent) {
	e.CategoryUID, e.ClassUID = ocsfApplication, ocsfAPIActivity
	principal := f.by
	e.API = &ocsfAPI{Operation: f.asked, Service: ocsfOfKeytrail}
	if f.Type == typeUsed {
		principal = f.Subject
		e.API.Operation, e.ActivityID, e.ActivityName = f.operation()
	}
	e.API.Token = &ocsfToken{UID: principal, TypeID: ocsfAPIToken, TenantUID: string(f.Org)}
	e.Actor = &ocsfActor{ocsfUser{UID: principal}}
	if e.Source == nil { // which the class demands
		e.Source = &ocsfEndpoint{Name: "unknown"}
	}
}

// operation is what a caller's own key was used for: the route says it, as of a token that is
// derived, whose scopes were asked for; or the scope that a management key needed.
func (f *facts) operation() (name string, a activity, activityName string) {
	if method, path, ok := f.call(); ok {
		return method + " " + path, other, "Call"
	}
	if len(f.scopes) == 0 {
		return "management", other, "Call"
	}
	if strings.HasSuffix(f.scopes[0], ":read") {
		return f.scopes[0], read, ""
	}
	return f.scopes[0], other, "Write"
}
