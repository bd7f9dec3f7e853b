package eventstore

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"
)

// forwarderRequests is the subject, of no stream, of requests to the process that forwards.
const forwarderRequests = "keytrail.forwarder"

// ErrNoForwarder says that no process hears requests to the one that forwards.
var ErrNoForwarder = errors.New("no process forwards to sinks")

// AskForwarder sends a request to the process that forwards, which may be this one.
func (l *Ledger) AskForwarder(ctx context.Context, request []byte) (answer []byte, err error) {
	m, err := l.nc.RequestWithContext(ctx, forwarderRequests, request)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, ErrNoForwarder
	case err != nil:
		return nil, classify(err)
	}
	return m.Data, nil
}

// HearForwarder calls handle with each request to the process that forwards, until ctx ends. An
// answer that is lost is not missed: the one that asked has gone.
func (l *Ledger) HearForwarder(ctx context.Context, handle func(request []byte, answer func([]byte))) error {
	s, err := l.nc.SubscribeSync(forwarderRequests)
	if err != nil {
		return err
	}
	defer func() { _ = s.Unsubscribe() }() // an error is that of a closed connection
	for {
		m, err := s.NextMsgWithContext(ctx)
		if err != nil {
			return err
		}
		handle(m.Data, func(answer []byte) { _ = m.Respond(answer) })
	}
}
