package eventstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/keytrail/keytrail/domain"
)

// The stream of data keys is no part of the ledger, which forgets nothing: it is what recoverable
// secrets on the ledger are read with, each data key sealed, and from which a data key can be
// taken away. A data key has a subject of its own, so that it is found, and destroyed, by name.
const (
	dataKeysName = "KEYTRAIL_DATA_KEYS"
	dataKeysRoot = "keytrail.data_keys."
)

// ErrNoDataKey is a data key that was destroyed, or never was.
var ErrNoDataKey = errors.New("there is no such data key")

// A DataKeyRef names a data key: that of one secret of a key.
type DataKeyRef struct {
	Org    domain.OrgID
	Key    domain.KeyID
	Secret string // tells the key's secrets apart
}

func (r DataKeyRef) subject() string {
	return dataKeysRoot + string(r.Org) + "." + string(r.Key) + "." + r.Secret
}

func (r DataKeyRef) String() string { return "data key of " + string(r.Key) }

// PutDataKey keeps a data key, which is sealed.
func (l *Ledger) PutDataKey(ctx context.Context, ref DataKeyRef, sealed []byte) error {
	if err := l.Suspended(); err != nil {
		return err
	}
	m := nats.NewMsg(ref.subject())
	m.Data = sealed
	m.Header.Set(jetstream.MsgIDHeader, nuid.Next()) // a repeat is dropped
	return wrapDataKey("keep", ref, retry(ctx, func(ctx context.Context) error {
		_, err := l.publishOnce(ctx, m)
		return err
	}))
}

// DataKey is a data key as it was put; ErrNoDataKey.
func (l *Ledger) DataKey(ctx context.Context, ref DataKeyRef) ([]byte, error) {
	var m *jetstream.RawStreamMsg
	err := retry(ctx, func(ctx context.Context) (err error) {
		m, err = l.dataKeys.GetLastMsgForSubject(ctx, ref.subject())
		return err
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, ErrNoDataKey
	}
	if err != nil {
		return nil, wrapDataKey("read", ref, err)
	}
	return m.Data, nil
}

// DestroyDataKey overwrites a data key on the servers' disks, if there is one.
func (l *Ledger) DestroyDataKey(ctx context.Context, ref DataKeyRef) error {
	return wrapDataKey("destroy", ref, retry(ctx, func(ctx context.Context) error {
		m, err := l.dataKeys.GetLastMsgForSubject(ctx, ref.subject())
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil // also if an earlier try, or another process, has done it
		}
		if err != nil {
			return err
		}
		return l.dataKeys.SecureDeleteMsg(ctx, m.Sequence)
	}))
}

func wrapDataKey(what string, ref DataKeyRef, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s the %s: %w", what, ref, err)
}

// dataKeysPage is how many names of data keys are asked for at once; tests lower it.
var dataKeysPage = 5000

// EachDataKey calls f with the name of each data key.
func (l *Ledger) EachDataKey(ctx context.Context, f func(DataKeyRef) error) error {
	// Headers only: the subject tells all. The server drops a consumer that was not asked for a minute.
	consumer, err := l.dataKeys.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{HeadersOnly: true, MaxResetAttempts: 1, InactiveThreshold: time.Minute})
	if err != nil {
		return err
	}
	for n := 1; n > 0; {
		page, err := consumer.Fetch(dataKeysPage, jetstream.FetchMaxWait(tryTimeout))
		if err != nil {
			return err
		}
		n = 0
		for m := range page.Messages() {
			n++
			if err := cmp.Or(ctx.Err(), f(parseDataKeyRef(m.Subject()))); err != nil {
				return err
			}
		}
		if page.Error() != nil {
			return page.Error()
		}
	}
	return nil
}

func parseDataKeyRef(subject string) (ref DataKeyRef) {
	parts := strings.SplitN(strings.TrimPrefix(subject, dataKeysRoot), ".", 3)
	if len(parts) == 3 {
		ref = DataKeyRef{domain.OrgID(parts[0]), domain.KeyID(parts[1]), parts[2]}
	}
	return ref
}
