package eventstore

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/domain"
)

// The headers of an event's message.
const (
	headerType        = "Event-Type"
	headerCommand     = "Command-Id"
	headerFingerprint = "Command-Fingerprint"
	headerActor       = "Actor"
	headerCorrelation = "Correlation-Id"
	headerVersion     = "Schema-Version"
)

// typeUses is the Event-Type of a message that packs many key.used events.
const typeUses = "uses"

// decoders lists every event type ever written. Entries are added, never removed and
// never changed; an upcaster is the decoder of an old name. testdata/events holds one
// sample of each.
var decoders = map[string]func([]byte) (domain.Event, time.Time, error){
	"key.created":          keyCreated,
	"key.updated":          as(func(e domain.KeyUpdated) time.Time { return e.At }),
	"key.rotated":          as(func(e domain.KeyRotated) time.Time { return e.At }),
	"key.disabled":         as(func(e domain.KeyDisabled) time.Time { return e.At }),
	"key.enabled":          as(func(e domain.KeyEnabled) time.Time { return e.At }),
	"key.revoked":          as(func(e domain.KeyRevoked) time.Time { return e.At }),
	"key.expired":          as(func(e domain.KeyExpired) time.Time { return e.At }),
	"credentials.refused":  as(func(e domain.CredentialsRefused) time.Time { return e.To }),
	"organization.created": as(func(e domain.OrganizationCreated) time.Time { return e.At }),
	"organization.updated": as(func(e domain.OrganizationUpdated) time.Time { return e.At }),
}

func as[E domain.Event](at func(E) time.Time) func([]byte) (domain.Event, time.Time, error) {
	return func(data []byte) (domain.Event, time.Time, error) {
		var e E
		if err := json.Unmarshal(data, &e); err != nil {
			return nil, time.Time{}, err
		}
		return e, at(e), nil
	}
}

// happened is when e says that it happened.
func happened(e domain.Event) time.Time {
	switch e := e.(type) {
	case domain.KeyCreated:
		return e.At
	case domain.KeyUpdated:
		return e.At
	case domain.KeyRotated:
		return e.At
	case domain.KeyDisabled:
		return e.At
	case domain.KeyEnabled:
		return e.At
	case domain.KeyRevoked:
		return e.At
	case domain.KeyExpired:
		return e.At
	case domain.KeyUsed:
		return e.At
	case domain.CredentialsRefused:
		return e.To
	case domain.OrganizationCreated:
		return e.At
	case domain.OrganizationUpdated:
		return e.At
	}
	return time.Time{}
}

// Message is the event as it goes to the ledger: a CloudEvent for whoever reads NATS
// without this code, and in headers what our own reader needs of the envelope.
func Message(ref Ref, c Command, e domain.Event) (*nats.Msg, error) {
	return message(ref.subject(), ref.Org, ref.ID, Events, c, e)
}

func message(subject string, org domain.OrgID, id string, s Stream, c Command, e domain.Event) (*nats.Msg, error) {
	eventID, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(cloudEvent{
		SpecVersion: "1.0", ID: eventID.String(), Source: "/keytrail/" + s.String(), Type: e.EventType(), Subject: id,
		Time: happened(e), DataContentType: "application/json", Org: org, Actor: c.Actor, Correlation: c.Correlation, Data: e,
	})
	if err != nil {
		return nil, err
	}
	m := nats.NewMsg(subject)
	m.Data = body
	m.Header.Set(headerType, e.EventType())
	m.Header.Set(jetstream.MsgIDHeader, eventID.String())
	m.Header.Set(headerVersion, "1")
	setIf(m.Header, headerCommand, c.ID)
	setIf(m.Header, headerFingerprint, c.Fingerprint)
	setIf(m.Header, headerActor, c.Actor)
	setIf(m.Header, headerCorrelation, c.Correlation)
	return m, nil
}

func setIf(h nats.Header, name, value string) {
	if value != "" {
		h.Set(name, value)
	}
}

// stored is a message as a stream gives it back.
type stored struct {
	stream   Stream
	subject  string
	header   nats.Header
	data     []byte
	position Position
	at       time.Time
}

// appendRecords adds what m holds to records: one event, or each use of a batch.
func appendRecords(records []Record, m stored) ([]Record, error) {
	r := Record{Stream: m.stream, Position: m.position, Stored: m.at}
	r.Org, r.Subject = readSubject(m.stream, m.subject)
	kind := header(m.header, headerType)
	if kind == typeUses {
		return appendUses(records, r, m.data)
	}
	decode, ok := decoders[kind]
	if !ok {
		return records, fmt.Errorf("%s position %d holds an event of the unknown type %q: written by a newer version?", m.stream, m.position, kind)
	}
	data, ok := eventData(m.data)
	if !ok {
		return records, fmt.Errorf("%s position %d has no data", m.stream, m.position)
	}
	event, at, err := decode(data)
	if err != nil {
		return records, fmt.Errorf("%s position %d, %s: %w", m.stream, m.position, kind, err)
	}
	r.ID, r.Time, r.Event = header(m.header, jetstream.MsgIDHeader), at, event
	r.Command = Command{
		ID: header(m.header, headerCommand), Fingerprint: header(m.header, headerFingerprint),
		Actor: header(m.header, headerActor), Correlation: header(m.header, headerCorrelation),
	}
	return append(records, r), nil
}

// eventData is the data member of an event that message wrote. It is the last one, and
// no member before it can hold its quoted name: inside a JSON string quotes are escaped.
func eventData(body []byte) ([]byte, bool) {
	const member = `,"data":`
	i := bytes.Index(body, []byte(member))
	if i < 0 || len(body) < i+len(member)+1 {
		return nil, false
	}
	return body[i+len(member) : len(body)-1], true
}

// header is h.Get without its canonicalisation, which costs more than the look-up.
func header(h nats.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// readSubject takes the organization and the aggregate's id out of a subject.
func readSubject(s Stream, subject string) (domain.OrgID, string) {
	org, rest, _ := strings.Cut(strings.TrimPrefix(subject, s.root()), ".")
	_, id, _ := strings.Cut(rest, ".")
	return domain.OrgID(org), id
}
