package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
)

// WriteHeaders are those of every request that changes something.
type WriteHeaders struct {
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"255" doc:"Repeating a request with the same key changes nothing and answers the same, without a secret."`
	IfMatch        string `header:"If-Match" doc:"The ETag of the revision that the change is meant for."`
	request        commands.Request
}

// Resolve is called by Huma before the handler. It sets what commands know a request by: its
// caller, and the Idempotency-Key, which from another caller is another command's.
func (h *WriteHeaders) Resolve(ctx huma.Context) []error {
	revision, err := parseETag(h.IfMatch)
	if err != nil {
		return []error{err}
	}
	by := callerOf(ctx.Context()).Principal
	h.request = commands.Request{By: by, Correlation: requestID(ctx.Context()), IfMatch: revision}
	if h.IdempotencyKey == "" {
		return nil
	}
	if strings.ContainsFunc(h.IdempotencyKey, func(c rune) bool { return c < ' ' || c > '~' }) {
		return []error{domain.InvalidField("Idempotency-Key", "must be printable ASCII of at most 255 characters")}
	}
	h.request.CommandID = hashOf(by.ID, h.IdempotencyKey)
	if by.Session != "" { // a user who has switched asks in another organization
		h.request.CommandID = hashOf(by.ID, string(by.Org), h.IdempotencyKey)
	}
	u := ctx.URL()
	h.request.Fingerprint = hashOf(ctx.Method(), u.Path, etag(revision), compact(withoutPasswords(bodyOf(ctx.Context()))))
	return nil
}

// passwordMembers are what a fingerprint, which readers of the ledger see, is not of: they could try
// passwords offline until the hash is the same.
var passwordMembers = []string{"password", "current_password", "new_password"}

// withoutPasswords is a JSON object without them.
func withoutPasswords(text []byte) []byte {
	var members map[string]json.RawMessage
	if json.Unmarshal(text, &members) != nil {
		return text
	}
	before := len(members)
	for _, name := range passwordMembers {
		delete(members, name)
	}
	if len(members) == before {
		return text
	}
	text, _ = json.Marshal(members) // it was JSON before
	return text
}

// compact is JSON without spaces between its tokens; text that is no JSON is as it was.
func compact(text []byte) string {
	var b bytes.Buffer
	if json.Compact(&b, text) != nil {
		return string(text)
	}
	return b.String()
}

func hashOf(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}
