package eventstore

import (
	"context"

	"github.com/nats-io/nats.go"

	"github.com/keytrail/keytrail/domain"
)

// A Summary is refused credentials of one organization's asker, summed up. It must not be
// changed once it is appended.
type Summary struct {
	Org     domain.OrgID
	Event   domain.CredentialsRefused
	message *nats.Msg // made by the first append
}

// AppendSummary writes s into the uses stream. Repeated with the same summary it is the
// same message, as with AppendUses.
func (l *Ledger) AppendSummary(ctx context.Context, s *Summary) (Position, error) {
	if s.message == nil {
		m, err := message(Uses.root()+string(s.Org), s.Org, "", Uses, Command{Actor: s.Event.Principal}, s.Event)
		if err != nil {
			return 0, &failed{Refused, err}
		}
		s.message = m
	}
	return l.publish(ctx, Uses, s.message)
}
