package format

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// ecsVersion is the version of the Elastic Common Schema.
const ecsVersion = "9.2.0"

// An ecsEvent has its timestamp first, where the bulk sink looks for it. What ECS has no field for
// is below keytrail.
type ecsEvent struct {
	Timestamp    time.Time     `json:"@timestamp"`
	ECS          ecsSchema     `json:"ecs"`
	Message      string        `json:"message"`
	Event        ecsDetails    `json:"event"`
	Organization ecsID         `json:"organization"`
	User         *ecsID        `json:"user,omitempty"`
	Source       *ecsSource    `json:"source,omitempty"`
	HTTP         *ecsHTTP      `json:"http,omitempty"`
	URL          *ecsURL       `json:"url,omitempty"`
	Service      ecsService    `json:"service"`
	Related      ecsRelated    `json:"related"`
	Keytrail     ecsOfKeytrail `json:"keytrail"`
}

type ecsSchema struct {
	Version string `json:"version"`
}

type ecsDetails struct {
	Kind     string     `json:"kind"`
	Category []string   `json:"category"`
	Type     []string   `json:"type"`
	Action   string     `json:"action"`
	Outcome  string     `json:"outcome"`
	ID       string     `json:"id"`
	Sequence uint64     `json:"sequence"`
	Provider string     `json:"provider"`
	Module   string     `json:"module"`
	Dataset  string     `json:"dataset"`
	Severity severity   `json:"severity"`
	Code     string     `json:"code,omitempty"`
	Reason   string     `json:"reason,omitempty"`
	Created  *time.Time `json:"created,omitempty"`
	Start    *time.Time `json:"start,omitempty"`
	End      *time.Time `json:"end,omitempty"`
}

type ecsID struct {
	ID string `json:"id"`
}

type ecsSource struct {
	IP string `json:"ip"`
}

type ecsHTTP struct {
	Request ecsRequest `json:"request"`
}

type ecsRequest struct {
	ID     string `json:"id,omitempty"`
	Method string `json:"method,omitempty"`
}

type ecsURL struct {
	Path string `json:"path"`
}

type ecsService struct {
	Type string `json:"type"`
}

type ecsRelated struct {
	User []string `json:"user"`
	IP   []string `json:"ip,omitempty"`
}

type ecsOfKeytrail struct {
	Subject string       `json:"subject"`
	Data    domain.Event `json:"data"`
}

// ecsTypes are ECS's for what was done; each goes with what it was done to.
var ecsTypes = map[activity]string{
	create: "creation", read: "info", update: "change", remove: "deletion", enable: "change", disable: "change",
	activate: "change", deactivate: "change", suspend: "change", resume: "change", other: "info",
}

// ecs is a document of the Elastic Common Schema.
func ecs(id string, r *eventstore.Record) ([]byte, error) {
	f, ok := factsOf(r)
	if !ok {
		return nil, fmt.Errorf("%s has no place in ECS", r.Type)
	}
	e := ecsEvent{
		Timestamp: f.Time, ECS: ecsSchema{ecsVersion}, Message: f.text,
		Event: ecsDetails{
			Kind: "event", Action: f.Type, Outcome: f.outcome(), ID: id, Sequence: uint64(f.Position), Provider: "keytrail", Module: "keytrail",
			Dataset: "keytrail." + f.Stream.String(), Severity: f.severity, Code: f.code, Reason: f.detail,
			Created: known(&f.Stored), Start: known(&f.start), End: known(&f.end),
		},
		Organization: ecsID{string(f.Org)}, Service: ecsService{"keytrail"},
		Related:  ecsRelated{User: f.users(), IP: f.addresses},
		Keytrail: ecsOfKeytrail{f.Subject, f.Event},
	}
	e.Event.Category, e.Event.Type = f.ecsCategory()
	if len(e.Related.User) > 0 {
		e.User = &ecsID{e.Related.User[0]}
	}
	if a := f.address(); a != "" {
		e.Source = &ecsSource{a}
	}
	method, path, ok := f.call()
	if ok {
		e.URL = &ecsURL{path}
	}
	if f.request != "" || ok {
		e.HTTP = &ecsHTTP{ecsRequest{f.request, method}}
	}
	return json.Marshal(&e)
}

// ecsCategory is where ECS puts the event.
func (f *facts) ecsCategory() (category, types []string) {
	switch {
	case f.asked != "" && f.refused:
		return []string{"api"}, []string{"access", "denied"}
	case f.asked != "":
		return []string{"api"}, []string{"access"}
	case f.Stream == eventstore.Uses && f.refused:
		return []string{"authentication", "api"}, []string{"start", "denied"}
	case f.Stream == eventstore.Uses:
		return []string{"authentication", "api"}, []string{"start", "allowed"}
	case f.kind == "key" || f.kind == "token" || f.kind == "owner":
		return []string{"iam"}, []string{ecsTypes[f.activity], "user"}
	case f.kind == "organization":
		return []string{"iam"}, []string{ecsTypes[f.activity], "group"}
	}
	return []string{"iam"}, []string{ecsTypes[f.activity], "admin"}
}

// users are the principals that the event is about, the one that acted first: of a use that is the
// key.
func (f *facts) users() []string {
	all := []string{f.Subject, f.by}
	switch {
	case f.Type == typeRefused:
		all = []string{f.by}
	case f.Type != typeUsed:
		all = []string{f.by, f.Subject}
	}
	return slices.Compact(slices.DeleteFunc(all, func(id string) bool { return id == "" }))
}

// known is t, nil if it is zero.
func known(t *time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return t
}
