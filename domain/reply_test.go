package domain

import (
	"errors"
	"strings"
	"testing"
)

func withReply(r Reply) KeyspaceDefinition {
	d := definition(someFormats[1])
	d.Replies = []Reply{r}
	return d
}

// What a template cannot do is loop, call, define, or fail at a request.
func TestTheBodyOfAReplyIsPlain(t *testing.T) {
	for body, fault := range map[string]string{
		``:                 "",
		`{"message":"no"}`: "",
		`{"id":"{{.KeyID}}","why":"{{.Outcome}}","status":{{.Status}},"wait":{{.RetryAfter}}}`:          "",
		`{"a":1{{if .KeyID}},"id":"{{.KeyID}}"{{else if .OrgID}},"x":1{{else}}{{/* no key */}}{{end}}}`: "",
		`{{- if .Attribute -}} {"missing":"{{ .Attribute }}"} {{- else -}} {} {{- end -}}`:              "",
		`{"message":"{{.Secret}}"}`:                    "beside text",
		`{"message":"{{.}}"}`:                          "beside text",
		`{"message":"{{.KeyID.String}}"}`:              "beside text",
		`{"message":"{{$}}"}`:                          "beside text",
		`{"message":"{{$.KeyID}}"}`:                    "beside text",
		`{"message":"{{"text"}}"}`:                     "beside text",
		`{"message":"{{1}}"}`:                          "beside text",
		`{"message":{{printf "%09999999d" 1}}}`:        "beside text",
		`{"message":"{{.KeyID | printf "%s"}}"}`:       "beside text",
		`{{if eq .Status 401}}{}{{else}}{}{{end}}`:     "beside text",
		`{{if .KeyID}}{{range .Scopes}}{{end}}{{end}}`: "beside text",
		`{{range $i, $c := .Scopes}}x{{end}}`:          "beside text",
		`{{with .KeyID}}{}{{end}}`:                     "beside text",
		`{{$x := .KeyID}}{}`:                           "beside text",
		`{{if $x := .KeyID}}{}{{end}}`:                 "beside text",
		`{{template "body"}}`:                          "beside text",
		`{{define "x"}}{{end}}{}`:                      "may not define",
		`{{block "x" .}}{}{{end}}`:                     "may not define",
		`{{`:                                           "not a template: line 1",
		"{}\n{{.KeyID":                                 "not a template: line 2",
		`{{nofunction}}`:                               "not a template: line 1",
		`{{if .KeyID}}{}`:                              "not a template: line 1",
		`message`:                                      "not valid JSON",
		`{{.KeyID}}`:                                   "not valid JSON",
		`{"a":1{{if .KeyID}}}{{end}}`:                  "not valid JSON for NOT_FOUND without KeyID, OrgID",
		`{{if .KeyID}}{{if .Scopes}}{{else}}{{if .RetryAfter}}[{{end}}{{end}}{{end}}{}`: "not valid JSON",
		`{"s":"` + strings.Repeat("{{.Scopes}}", 17) + `"}`:                             "longer than",
		`{"s":"` + strings.Repeat("{{.Scopes}}", 15) + `"}`:                             "",
	} {
		d := withReply(Reply{For: []ReplyCase{ReplyCase(UseNotFound)}, ReplyText: ReplyText{Status: 401, Body: body}})
		err := d.check()
		var refusal *Error
		switch {
		case fault == "" && err != nil:
			t.Errorf("%.80s is refused: %v", body, err)
		case fault != "" && (!errors.As(err, &refusal) || refusal.Field != "replies[0].body" || !strings.Contains(refusal.Text, fault) || len(refusal.Text) > 400):
			t.Errorf("%.80s: %v, want %q", body, err, fault)
		}
	}
}

func TestRepliesAreAnswersThatGatewaysCanGive(t *testing.T) {
	text := ReplyText{Status: 401, ContentType: "text/plain", Body: "no"}
	with := func(change func(*ReplyText)) ReplyText { r := text; change(&r); return r }
	for name, c := range map[string]struct {
		cases []ReplyCase
		reply ReplyText
		field string
	}{
		"plain text":                 {[]ReplyCase{ReplyMissing}, text, ""},
		"JSON of another name":       {[]ReplyCase{ReplyMissing}, with(func(r *ReplyText) { r.ContentType = "application/problem+json; charset=utf-8" }), "replies[0].body"},
		"a case twice":               {[]ReplyCase{ReplyMissing, ReplyMissing}, text, "replies[0].for[1]"},
		"a header twice":             {[]ReplyCase{ReplyMissing}, with(func(r *ReplyText) { r.Headers = map[string]string{"X-Why": "a", "x-why": "b"} }), "replies[0].headers"},
		"an error for a refused key": {[]ReplyCase{ReplyUnavailable, ReplyCase(UseRevoked)}, with(func(r *ReplyText) { r.Status = 503 }), "replies[0].status"},
		"an error for a busy key":    {[]ReplyCase{ReplyUnavailable, ReplyCase(UseRateLimited)}, with(func(r *ReplyText) { r.Status = 503 }), ""},
	} {
		d := withReply(Reply{For: c.cases, ReplyText: c.reply})
		err := d.check()
		var refusal *Error
		if errors.As(err, &refusal) != (c.field != "") || refusal != nil && refusal.Field != c.field {
			t.Errorf("%s: %v", name, err)
		}
	}
	d := definition(someFormats[1])
	d.Requirements = []Requirement{{Attribute: "x"}, {Attribute: "y", Reply: &ReplyText{Status: 403, Body: "{{.Attribute}}"}}}
	var refusal *Error
	if err := d.check(); !errors.As(err, &refusal) || refusal.Field != "requirements[1].reply.body" {
		t.Errorf("a requirement's reply: %v", err)
	}
}

// A reply shows what it was given, and no more of long scopes than it was tried with.
func TestRepliesAreExecuted(t *testing.T) {
	d := withReply(Reply{For: []ReplyCase{ReplyCase(UseInsufficientScope)}, ReplyText: ReplyText{Status: 403, Body: `{"key":"{{.KeyID}}","needs":"{{.Scopes}}"}`}})
	named, err := NewKeyspaces([]Keyspace{{Name: "a", KeyspaceDefinition: d}}).Named("a")
	if err != nil {
		t.Fatal(err)
	}
	r := named.Reply(ReplyCase(UseInsufficientScope))
	if got := string(r.Body(ReplyFields{KeyID: "key_1", Scopes: "a:read b:read"})); got != `{"key":"key_1","needs":"a:read b:read"}` {
		t.Error(got)
	}
	if got := r.Body(ReplyFields{Scopes: strings.Repeat("s", 5000)}); len(got) != maxReplyScopes+len(`{"key":"","needs":""}`) {
		t.Errorf("%d bytes", len(got))
	}
	if named.Reply(ReplyMissing) != nil {
		t.Error("a case without a reply has one")
	}
}
