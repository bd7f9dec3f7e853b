package eventstore

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/domain"
)

// maxBatchBytes keeps a message of uses under 64 KiB with its subject and headers.
const maxBatchBytes = 63 << 10

// A UseBatch collects the uses of one organization for one message: a JSON array, written
// by hand because it is on the path of every verification. The zero value is empty. It
// must not be changed between AppendUses and its return.
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

// Add puts u into b, or tells that it is full and leaves it as it was.
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
	b = append(b, `","time":`...)
	b = strconv.AppendInt(b, u.At.UnixMilli(), 10)
	if len(u.Scopes) > 0 {
		b = append(b, `,"scopes":[`...)
		for i, s := range u.Scopes {
			if i > 0 {
				b = append(b, ',')
			}
			b = AppendString(b, s)
		}
		b = append(b, ']')
	}
	b = appendMember(b, `,"ip":`, u.IP)
	b = appendMember(b, `,"principal":`, u.Principal)
	b = appendMember(b, `,"request_id":`, u.RequestID)
	if len(u.Windows) > 0 {
		b = append(b, `,"windows":[`...)
		for i, w := range u.Windows {
			if i > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendInt(b, w, 10)
		}
		b = append(b, ']')
	}
	if u.Count > 1 {
		b = appendSum(b, u)
	}
	return append(b, '}')
}

// appendSum appends what only a use that stands for several has.
func appendSum(b []byte, u *domain.KeyUsed) []byte {
	b = strconv.AppendInt(append(b, `,"count":`...), u.Count, 10)
	b = strconv.AppendInt(append(b, `,"first":`...), u.First.UnixMilli(), 10)
	for i, address := range u.Addresses {
		if i == 0 {
			b = append(b, `,"addresses":[`...)
		} else {
			b = append(b, ',')
		}
		b = AppendString(b, address)
	}
	if len(u.Addresses) > 0 {
		b = append(b, ']')
	}
	return b
}

func appendMember(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return AppendString(append(b, name...), value)
}

// AppendString appends s as a JSON string. Text that needs escapes is rare and left to encoding/json.
func AppendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, _ := json.Marshal(s)
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
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
	start := len(records)
	if all, ok := scanUses(records, base, string(body)); ok {
		return all, nil
	}
	// Not the spelling that appendUse writes, or text with escapes: a careful reader takes over.
	var uses []useOnWire
	if err := json.Unmarshal(body, &uses); err != nil {
		return records[:start], fmt.Errorf("uses position %d: %w", base.Position, err)
	}
	for i := range uses {
		records = append(records, useRecord(base, i, &uses[i]))
	}
	return records, nil
}

func scanUses(records []Record, base Record, body string) ([]Record, bool) {
	s := scanner{body}
	if !s.skip("[") {
		return nil, false
	}
	for i := 0; ; i++ {
		var u useOnWire
		if !s.use(&u) {
			return nil, false
		}
		records = append(records, useRecord(base, i, &u))
		if !s.skip(",") {
			return records, s.rest == "]"
		}
	}
}

func (s *scanner) use(u *useOnWire) bool {
	return s.member(`{"key_id":`, (*string)(&u.Key)) &&
		s.member(`,"code":`, (*string)(&u.Code)) &&
		s.skip(`,"time":`) && s.number(&u.Time) &&
		s.optionalTexts(`,"scopes":[`, &u.Scopes) &&
		s.optional(`,"ip":`, &u.IP) &&
		s.optional(`,"principal":`, &u.Principal) &&
		s.optional(`,"request_id":`, &u.RequestID) &&
		(!s.skip(`,"windows":[`) || s.numbers(&u.Windows)) &&
		(!s.skip(`,"count":`) || s.number(&u.Count) && s.skip(`,"first":`) && s.number(&u.First)) &&
		s.optionalTexts(`,"addresses":[`, &u.Addresses) &&
		s.skip("}")
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
