package domain

import (
	"bytes"
	"io"
	"text/template"
)

// ReplyFields are what the body of a reply can show. None of them is a secret, and none has
// characters that need escapes in JSON.
type ReplyFields struct {
	Outcome    ReplyCase
	Status     int
	KeyID      KeyID // "" unless the key is known
	OrgID      OrgID // of the key
	Keyspace   string
	Scopes     string // those that were asked for, separated by spaces
	Attribute  string // that a requirement misses
	RequestID  string
	RetryAfter int64 // seconds; 0: not known
}

// maxReply is how many bytes the body of a reply has at most.
const maxReply = 16 << 10

// A CompiledReply is a ReplyText whose body can be executed.
type CompiledReply struct {
	ReplyText
	body *template.Template
}

// Body is the reply's body. It was tried when the keyspace was applied; what fails all the
// same is left out.
func (r *CompiledReply) Body(f ReplyFields) []byte {
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
	t, err := template.New("body").Option("missingkey=error").Parse(r.Body)
	if err != nil {
		t = template.New("body")
	}
	return &CompiledReply{r, t}, err
}

// checkReplies tries every template in every case that it is for.
func (d *KeyspaceDefinition) checkReplies() error {
	seen := map[ReplyCase]bool{}
	for i, r := range d.Replies {
		field := "replies[" + itoa(i) + "]"
		for _, c := range r.For {
			if seen[c] {
				return InvalidField(field+".for", "%s has a reply already", c)
			}
			seen[c] = true
		}
		if err := r.ReplyText.check(field); err != nil {
			return err
		}
	}
	for i, r := range d.Requirements {
		if r.Reply != nil {
			if err := r.Reply.check("requirements[" + itoa(i) + "].reply"); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r ReplyText) check(field string) error {
	compiled, err := r.compile()
	if err == nil {
		err = compiled.body.Execute(&limitedWriter{left: maxReply}, ReplyFields{})
	}
	if err != nil {
		return InvalidField(field+".body", "is not a template that can be executed: %s", err)
	}
	return nil
}

// A limitedWriter fails when more is written to it than it takes.
type limitedWriter struct{ left int }

func (w *limitedWriter) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		return 0, io.ErrShortWrite
	}
	return len(b), nil
}
