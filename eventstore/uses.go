package eventstore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/fastjson"
)

// maxBatchBytes keeps a message of uses under 64 KiB with its subject and headers.
const maxBatchBytes = 63 << 10

// A UseBatch is the uses of one organization for one message: a JSON array, written by hand
// because it is on the path of every verification. The zero value is empty. It must not be
// changed while AppendUses runs.
type UseBatch struct {
	buf []byte
	n   int
	id  string // of the message, given by the first append
}

// Len is the number of uses in b.
func (b *UseBatch) Len() int { return b.n }

// Size is the memory of its uses in bytes.
func (b *UseBatch) Size() int { return len(b.buf) }

// Reset empties b for another message and keeps its memory.
func (b *UseBatch) Reset() { b.buf, b.n, b.id = b.buf[:0], 0, "" }

// Add puts u into b. It returns false, and leaves b as it was, if that is full.
func (b *UseBatch) Add(u *domain.KeyUsed) bool {
	before := len(b.buf)
	if b.n == 0 {
		b.buf = append(b.buf, '[')
	} else {
		b.buf = append(b.buf, ',')
	}
	b.buf = appendUse(b.buf, u)
	if len(b.buf) >= maxBatchBytes && b.n > 0 {
		b.buf = b.buf[:before]
		return false
	}
	b.n++
	return true
}

// body is a copy with the array closed: NATS keeps what it publishes for a moment.
func (b *UseBatch) body() []byte {
	body := make([]byte, 0, len(b.buf)+1)
	return append(append(body, b.buf...), ']')
}

// AppendUses writes b as one message. Repeated with the same batch it is the same message,
// which is written once if it is repeated within the stream's duplicate window.
func (l *Ledger) AppendUses(ctx context.Context, org domain.OrgID, b *UseBatch) (Position, error) {
	if b.id == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return 0, err
		}
		b.id = id.String()
	}
	return l.publish(ctx, Uses, usesMessage(org, b.id, b))
}

// usesMessage is b as it goes to the ledger. Its body is an array in a form of its own, not
// a CloudEvent.
func usesMessage(org domain.OrgID, id string, b *UseBatch) *nats.Msg {
	m := nats.NewMsg(Uses.root() + string(org))
	m.Data = b.body()
	m.Header.Set(headerContent, "application/json")
	m.Header.Set(headerType, typeUses)
	m.Header.Set(headerVersion, "1")
	m.Header.Set(jetstream.MsgIDHeader, id)
	return m
}

func appendUse(b []byte, u *domain.KeyUsed) []byte {
	b = append(b, `{"key_id":"`...)
	b = append(b, u.Key...)
	b = append(b, `","code":"`...)
	b = append(b, u.Code...)
	b = fastjson.AppendIntMember(b, `","time":`, u.At.UnixMilli())
	if len(u.Scopes) > 0 {
		b = fastjson.AppendStrings(append(b, `,"scopes":`...), u.Scopes)
	}
	b = fastjson.AppendOptionalMember(b, `,"ip":`, u.IP)
	b = fastjson.AppendOptionalMember(b, `,"principal":`, u.Principal)
	b = fastjson.AppendOptionalMember(b, `,"request_id":`, u.RequestID)
	if len(u.Windows) > 0 {
		b = fastjson.AppendInts(append(b, `,"windows":`...), u.Windows)
	}
	if u.Count > 1 {
		b = appendSum(b, u)
	}
	return append(b, '}')
}

// appendSum appends what only a use that stands for several has.
func appendSum(b []byte, u *domain.KeyUsed) []byte {
	b = fastjson.AppendIntMember(b, `,"count":`, u.Count)
	b = fastjson.AppendIntMember(b, `,"first":`, u.First.UnixMilli())
	if len(u.Addresses) > 0 {
		b = fastjson.AppendStrings(append(b, `,"addresses":`...), u.Addresses)
	}
	return b
}

var typeUsed = domain.TypeOf(domain.KeyUsed{})

// useOnWire is a use as appendUse writes it.
type useOnWire struct {
	Key       domain.KeyID   `json:"key_id"`
	Code      domain.Outcome `json:"code"`
	Time      int64          `json:"time"`
	Scopes    []string       `json:"scopes,omitempty"`
	IP        string         `json:"ip,omitempty"`
	Principal string         `json:"principal,omitempty"`
	RequestID string         `json:"request_id,omitempty"`
	Windows   []int64        `json:"windows,omitempty"`
	Count     int64          `json:"count,omitempty"`
	First     int64          `json:"first,omitempty"`
	Addresses []string       `json:"addresses,omitempty"`
}

// appendUses adds the uses of one message to records; base has what they share.
func appendUses(records []Record, base Record, body []byte) ([]Record, error) {
	if all, ok := scanUses(records, base, string(body)); ok {
		return all, nil
	}
	// Not the spelling that appendUse writes, or text with escapes: a careful reader takes over.
	var uses []useOnWire
	if err := json.Unmarshal(body, &uses); err != nil {
		return records, fmt.Errorf("uses position %d: %w", base.Position, err)
	}
	for i := range uses {
		records = append(records, useRecord(base, i, &uses[i]))
	}
	return records, nil
}

func scanUses(records []Record, base Record, body string) ([]Record, bool) {
	s := fastjson.NewScanner(body)
	start := len(records)
	ok := s.Array(func() bool {
		var u useOnWire
		if !scanUse(&s, &u) {
			return false
		}
		records = append(records, useRecord(base, len(records)-start, &u))
		return true
	})
	return records, ok && s.End()
}

func scanUse(s *fastjson.Scanner, u *useOnWire) bool {
	return s.Member(`{"key_id":`, (*string)(&u.Key)) &&
		s.Member(`,"code":`, (*string)(&u.Code)) &&
		s.Skip(`,"time":`) && s.Int(&u.Time) &&
		(!s.Skip(`,"scopes":`) || s.Strings(&u.Scopes)) &&
		s.OptionalMember(`,"ip":`, &u.IP) &&
		s.OptionalMember(`,"principal":`, &u.Principal) &&
		s.OptionalMember(`,"request_id":`, &u.RequestID) &&
		(!s.Skip(`,"windows":`) || s.Ints(&u.Windows)) &&
		(!s.Skip(`,"count":`) || s.Int(&u.Count) && s.Skip(`,"first":`) && s.Int(&u.First)) &&
		(!s.Skip(`,"addresses":`) || s.Strings(&u.Addresses)) &&
		s.Skip("}")
}

func useRecord(base Record, index int, u *useOnWire) Record {
	r := base
	r.Index, r.Subject, r.Time = index, string(u.Key), time.UnixMilli(u.Time).UTC()
	r.Actor, r.Correlation = u.Principal, u.RequestID
	e := domain.KeyUsed{Key: u.Key, Code: u.Code, Scopes: u.Scopes, IP: u.IP, Principal: u.Principal,
		RequestID: u.RequestID, Windows: u.Windows, At: r.Time, Count: u.Count, Addresses: u.Addresses}
	if u.Count > 1 {
		e.First = time.UnixMilli(u.First).UTC()
	}
	r.Type, r.Event = typeUsed, e
	return r
}
