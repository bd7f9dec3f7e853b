package api

import (
	"bytes"
	"context"
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
	method, path   string
}

// Resolve notes which route the request took, for its fingerprint.
func (h *WriteHeaders) Resolve(ctx huma.Context) []error {
	u := ctx.URL()
	h.method, h.path = ctx.Method(), u.Path
	return nil
}

// request is what commands need to know the request again. The same Idempotency-Key from
// another principal is another command.
func (h *WriteHeaders) request(ctx context.Context, p domain.Principal) (commands.Request, error) {
	r := commands.Request{By: p, Correlation: requestID(ctx)}
	var err error
	if r.IfMatch, err = parseETag(h.IfMatch); err != nil {
		return r, err
	}
	if h.IdempotencyKey == "" {
		return r, nil
	}
	if strings.ContainsFunc(h.IdempotencyKey, func(c rune) bool { return c < ' ' || c > '~' }) {
		return r, domain.InvalidField("Idempotency-Key", "must be printable ASCII of at most 255 characters")
	}
	r.CommandID = digest(p.ID, h.IdempotencyKey)
	sent, _ := ctx.Value(bodyKey).([]byte)
	var body bytes.Buffer
	if json.Compact(&body, sent) != nil {
		body.Write(sent)
	}
	r.Fingerprint = digest(h.method, h.path, etag(r.IfMatch), body.String())
	return r, nil
}

func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}
