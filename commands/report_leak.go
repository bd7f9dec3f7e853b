package commands

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// ReportLeak keeps a report that a secret was found where it should not be.
type ReportLeak struct {
	Request `validate:"-"`
	Org     domain.OrgID  `validate:"-"`
	Key     domain.KeyID  `validate:"-"`
	Secret  domain.Digest `validate:"-"`
	Source  string        `json:"source" validate:"max=100,text"`
	URL     string        `json:"url" validate:"max=2000,text"`
}

// CheckLeak refuses a source or a URL that no report may have.
func CheckLeak(source, url string) error { return valid(ReportLeak{Source: source, URL: url}) }

// CheckRevocation refuses a reason or a comment that no revocation may have.
func CheckRevocation(why domain.Reason, comment string) error {
	return valid(RevokeKey{Reason: cmp.Or(why, domain.Unspecified), Comment: comment})
}

// ReportLeak carries out c. The same report again, by any caller, finds the first one.
func (h *Handler) ReportLeak(ctx context.Context, c ReportLeak) error {
	if err := valid(c); err != nil {
		return err
	}
	if k, _, found := h.knownKey(c.Org, c.Key); found && k.LeaksKept() {
		return nil
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{string(c.Key), string(c.Secret[:]), c.Source, c.URL}, "\x00")))
	c.CommandID, c.Fingerprint = "leak-"+hex.EncodeToString(sum[:16]), ""
	_, err := executeOnce(ctx, h, eventstore.KeyRef(c.Org, c.Key), c.Request, nil, func(k domain.Key) (domain.Event, error) {
		return k.ReportLeak(domain.ReportLeak{Digest: c.Secret, Source: c.Source, URL: c.URL, At: h.now(), By: c.By})
	})
	return err
}
