package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// usesPerMessage is how many uses a message has when uses are written straight to the ledger.
const usesPerMessage = 48

// gateway is the principal of those uses.
var gateway = string(domain.NewKeyID("", "gateway"))

// A drawnUse is what is random about one use, as a function of its number.
type drawnUse struct {
	key     int
	request uint64
	address uint32
}

// drawUse draws use j of keys. Every tenth use is of key 0, the busiest.
func drawUse(j, keys int) drawnUse {
	var random rand.PCG
	random.Seed(1, uint64(j))
	u := drawnUse{int(random.Uint64() % uint64(keys)), random.Uint64(), uint32(random.Uint64())}
	if j%10 == 0 {
		u.key = 0
	}
	return u
}

func (u drawnUse) requestID() string { return fmt.Sprintf("%016x", u.request) }

func (u drawnUse) at(t time.Time) *domain.KeyUsed {
	address := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, u.address)))
	return &domain.KeyUsed{
		Key: keyOf(u.key), Code: domain.UseValid, Scopes: []string{askedScope}, IP: address.String(), Principal: gateway, RequestID: u.requestID(), At: t,
	}
}

// A usesLog is uses on a ledger: the positions of their messages, in the order of their numbers.
type usesLog []eventstore.Position

// fill appends uses until there are n, rounded down to whole messages.
func (log *usesLog) fill(ctx context.Context, ledger string, p population, keys, n int) error {
	return withLedger(ctx, ledger, func(_ *nats.Conn, l *eventstore.Ledger) error {
		decided, err := l.End(ctx, eventstore.Events)
		if err != nil {
			return err
		}
		first, missing := len(*log), max(0, n/usesPerMessage-len(*log))
		*log = append(*log, make(usesLog, missing)...)
		_, err = inParallel(ctx, writers, missing, func(i int) (err error) {
			var b eventstore.UseBatch
			now := time.Now()
			for j := range usesPerMessage {
				u := drawUse((first+i)*usesPerMessage+j, keys)
				if !b.Add(p.orgOf(u.key), u.at(now), decided) {
					return fmt.Errorf("%d uses do not fit into a message", usesPerMessage)
				}
			}
			(*log)[first+i], err = l.AppendUses(ctx, &b)
			return err
		})
		return err
	})
}

// len is the number of uses.
func (log usesLog) len() int { return len(log) * usesPerMessage }

// fillUses makes sure that n uses are on the ledger, which the service must not be using.
func (e *env) fillUses(ctx context.Context, n int) error {
	return e.uses.fill(ctx, e.ledger(), e.population, e.keys, n)
}
