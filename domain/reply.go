package domain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"reflect"
	"strings"
	"text/template"
)

// ReplyFields are what the body of a reply can show. None of them is a secret, and none has
// characters that need escapes in JSON or HTML.
type ReplyFields struct {
	Outcome    ReplyCase
	Status     int
	KeyID      KeyID // "" unless the key is known
	OrgID      OrgID // of the key, "" unless that is known
	Keyspace   string
	Scopes     string // those that were asked for, separated by spaces, the first maxReplyScopes bytes
	Attribute  string // that a requirement misses
	RequestID  string
	RetryAfter int64 // seconds; 0: not known
}

// maxReply is how many bytes the body of a reply has at most: gateways keep refusals in memory.
// maxReplyScopes is how many of them show the one field that may be long.
const (
	maxReply       = 16 << 10
	maxReplyScopes = 1000
)

// A CompiledReply is a ReplyText whose body can be executed.
type CompiledReply struct {
	ReplyText
	body *template.Template
}

// Body is the reply's body. It was tried with fields of every length when the keyspace was
// applied, so that it cannot fail.
func (r *CompiledReply) Body(f ReplyFields) []byte {
	f.Scopes = f.Scopes[:min(len(f.Scopes), maxReplyScopes)]
	var b bytes.Buffer
	_ = r.body.Execute(&b, f)
	return b.Bytes()
}

// replies are those of a keyspace.
type replies struct {
	cases        map[ReplyCase]*CompiledReply
	requirements []*CompiledReply // nil: that of REQUIREMENT_UNMET
}

// Reply is what the keyspace answers in a case; nil: the service's own answer.
func (k *Keyspace) Reply(c ReplyCase) *CompiledReply { return k.replies.cases[c] }

// RequirementReply is what the keyspace answers if its i-th requirement is unmet; nil: the
// service's own answer.
func (k *Keyspace) RequirementReply(i int) *CompiledReply {
	if r := k.replies.requirements[i]; r != nil {
		return r
	}
	return k.Reply(ReplyCase(UseRequirementUnmet))
}

// compileReplies makes what was checked ready for use.
func compileReplies(d *KeyspaceDefinition) replies {
	all := replies{cases: map[ReplyCase]*CompiledReply{}, requirements: make([]*CompiledReply, len(d.Requirements))}
	for _, r := range d.Replies {
		compiled, _ := r.compile()
		for _, c := range r.For {
			all.cases[c] = compiled
		}
	}
	for i, r := range d.Requirements {
		if r.Reply != nil {
			all.requirements[i], _ = r.Reply.compile()
		}
	}
	return all
}

func (r ReplyText) compile() (*CompiledReply, error) {
	t, err := compileBody(r.Body, reflect.TypeFor[ReplyFields]())
	return &CompiledReply{r, t}, err
}

// checkReplies refuses replies that a gateway could not give in a case that they are for.
func (d *KeyspaceDefinition) checkReplies() error {
	seen := map[ReplyCase]bool{}
	for i, r := range d.Replies {
		field := "replies[" + itoa(i) + "]"
		for j, c := range r.For {
			if seen[c] {
				return InvalidField(field+".for["+itoa(j)+"]", "%s has a reply already", c)
			}
			seen[c] = true
		}
		if err := r.check(field, r.For...); err != nil {
			return err
		}
	}
	for i, r := range d.Requirements {
		if r.Reply != nil {
			if err := r.Reply.check("requirements["+itoa(i)+"].reply", ReplyCase(UseRequirementUnmet)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r ReplyText) check(field string, cases ...ReplyCase) error {
	names := map[string]string{}
	for name := range r.Headers {
		if other := names[strings.ToLower(name)]; other != "" {
			return InvalidField(field+".headers", "%s and %s are one header, whatever the case of its letters", min(name, other), max(name, other))
		}
		names[strings.ToLower(name)] = name
	}
	compiled, err := r.compile()
	if err != nil {
		return InvalidField(field+".body", "%s", err)
	}
	for _, c := range cases {
		if r.Status >= 500 && c != ReplyUnavailable && c != ReplyCase(UseRateLimited) {
			return InvalidField(field+".status", "must be at most 499 for %s: gateways take a status from 500 on for an error of this service, and some let the request pass then", c)
		}
		for _, f := range sampleFields(c, r.Status) {
			if err := compiled.try(f); err != nil {
				return InvalidField(field+".body", "%s", err)
			}
		}
	}
	return nil
}

// try executes the body with sample fields.
func (r *CompiledReply) try(f ReplyFields) error {
	body := r.Body(f)
	switch {
	case len(body) > maxReply:
		return fmt.Errorf("with %d bytes of scopes it is longer than %d", maxReplyScopes, maxReply)
	case r.ReplyText.Body != "" && r.isJSON() && !json.Valid(body):
		return fmt.Errorf("is not valid JSON for %s%s; set content_type if it is not to be JSON", f.Outcome, f.lacking())
	}
	return nil
}

// isJSON reports whether the body is to be JSON.
func (r ReplyText) isJSON() bool {
	kind, _, _ := mime.ParseMediaType(r.ContentType)
	return r.ContentType == "" || kind == "application/json" || strings.HasSuffix(kind, "+json")
}

// sampleFields are the fields of a case with and without those that need not be there, in
// all combinations.
func sampleFields(c ReplyCase, status int) (all []ReplyFields) {
	for set := range 1 << 4 {
		f := ReplyFields{Outcome: c, Status: status, Keyspace: strings.Repeat("k", 40), RequestID: strings.Repeat("r", 64)}
		if set&1 != 0 {
			f.KeyID, f.OrgID = NewKeyID("", "sample"), NewOrgID("sample")
		}
		if set&2 != 0 {
			f.Scopes = strings.Repeat("s", maxReplyScopes)
		}
		if set&4 != 0 {
			f.Attribute = strings.Repeat("a", 64)
		}
		if set&8 != 0 {
			f.RetryAfter = 9_999_999
		}
		all = append(all, f)
	}
	return all
}

// lacking says which of the fields that need not be there are not.
func (f ReplyFields) lacking() string {
	var names []string
	for _, field := range []struct {
		name string
		is   bool
	}{{"KeyID", f.KeyID != ""}, {"OrgID", f.OrgID != ""}, {"Scopes", f.Scopes != ""}, {"Attribute", f.Attribute != ""}, {"RetryAfter", f.RetryAfter != 0}} {
		if !field.is {
			names = append(names, field.name)
		}
	}
	if names == nil {
		return ""
	}
	return " without " + strings.Join(names, ", ")
}
