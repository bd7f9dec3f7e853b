package verify

import (
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/projections"
)

// StillMay tells whether a caller who was authenticated at the beginning of a long request
// may go on: nil, or the refusal that its key would get now. It records no use and counts
// against no rate limit: the request is the one that was recorded.
func (v *Verifier) StillMay(r AuthRequest) error {
	var c projections.Credential
	digest := domain.NewSecret(r.Secret).Digest()
	found, err := v.store.Credential(&digest, domain.Installation, &c)
	if err != nil {
		return err
	}
	if !found {
		return ErrInvalidCredentials
	}
	key := c.Credential
	key.RateLimits = nil
	a := Answer{Outcome: key.Decide(domain.UseRequest{At: v.now().UTC().Truncate(time.Millisecond), Keyspace: domain.ManagementKeyspace,
		Scopes: []string{r.Scope}, IP: r.IP, By: domain.Principal{Org: domain.Installation}})}
	return a.refusal(r, v.now())
}
