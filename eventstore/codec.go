package eventstore

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/domain"
)

// The headers of an event's message, beside those of private.go.
const (
	headerContent     = "content-type" // in the spelling of the CloudEvents binding for NATS
	headerType        = "Event-Type"
	headerCommand     = "Command-Id"
	headerFingerprint = "Command-Fingerprint"
	headerActor       = "Actor"
	headerCorrelation = "Correlation-Id"
	headerVersion     = "Schema-Version" // for other readers: nothing here reads it
)

// contentEvent is the content type of a message whose body is a CloudEvent in JSON.
const contentEvent = "application/cloudevents+json"

// types are the entries of the registry of events by their names.
var types = func() map[string]domain.EventType {
	all := map[string]domain.EventType{}
	for _, t := range domain.EventTypes {
		all[t.Name] = t
	}
	return all
}()

// fastDecoders are for types of which a replay reads so many that encoding/json would take
// most of its time. An upcaster, for an event that was stored under an old name or in an
// old shape, would have a table like it.
var fastDecoders = map[string]func(data []byte, private domain.Private) (domain.Event, bool){
	domain.TypeOf(domain.KeyCreated{}): keyCreated,
}

func decodeEvent(t domain.EventType, data []byte, private domain.Private) (domain.Event, error) {
	if fast := fastDecoders[t.Name]; fast != nil {
		if e, ok := fast(data, private); ok {
			return e, nil
		}
	}
	return t.Decode(data, private)
}

// Message is the event as it goes to the ledger, after the aggregate's event at the position
// previous (0: as its first): a CloudEvent for readers of NATS that do not have this code, and in
// headers what our own reader needs of the envelope. The body names previous, so that a reader who
// keeps an aggregate's events can tell that none is missing between them.
func Message(ref Ref, previous Position, c Command, e domain.Event) (*nats.Msg, error) {
	eventID, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	r := Record{Org: ref.Org, Subject: ref.ID, ID: eventID.String(), Time: e.Happened(), Previous: previous, Command: c, Type: domain.TypeOf(e), Event: e}
	if r.Type == "" {
		return nil, fmt.Errorf("%T is not in the registry of events", e)
	}
	m := nats.NewMsg(ref.subject())
	if e, ok := e.(domain.Confidential); ok {
		private, err := sealPrivate(e.Private())
		if err != nil {
			return nil, err
		}
		r.Private = bindPrivate(private)
		m.Header.Set(headerPrivate, private)
	}
	if m.Data, err = r.CloudEvent(); err != nil {
		return nil, err
	}
	if len(m.Data) > maxEventBytes {
		return nil, domain.ErrEventTooLarge
	}
	m.Header.Set(headerContent, contentEvent)
	m.Header.Set(headerType, r.Type)
	m.Header.Set(jetstream.MsgIDHeader, r.ID)
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

// readEvent is the event that a message of the events stream holds.
func readEvent(m *Raw) (Record, error) {
	r := Record{Position: m.Position, ID: header(m.Header, jetstream.MsgIDHeader), Stored: m.Stored}
	r.Org, r.Subject = readSubject(m.Subject)
	kind := header(m.Header, headerType)
	t, ok := types[kind]
	if !ok {
		return r, fmt.Errorf("events position %d holds an event of the unknown type %q: written by a newer version?", m.Position, kind)
	}
	if err := r.decode(t, m); err != nil {
		return r, fmt.Errorf("events position %d, %s: %w", m.Position, kind, err)
	}
	r.Command = Command{
		ID: header(m.Header, headerCommand), Fingerprint: header(m.Header, headerFingerprint),
		Actor: header(m.Header, headerActor), Correlation: header(m.Header, headerCorrelation),
	}
	return r, nil
}

// decode puts the event of m, which is of type t, into r.
func (r *Record) decode(t domain.EventType, m *Raw) error {
	attributes, data, ok := cutData(m.Data)
	if !ok {
		return errNoData
	}
	private, binding, err := openPrivate(header(m.Header, headerPrivate), attributes)
	if err != nil {
		return err
	}
	event, err := decodeEvent(t, data, private)
	if err != nil {
		return err
	}
	r.Type, r.Event, r.Time, r.Private = t.Name, event, event.Happened(), binding
	if r.Previous, err = readPrevious(attributes); err != nil {
		return err
	}
	return demandPrivate(event, binding)
}

// cutData splits an event that message wrote before and after the name of its data member.
// It is the last one, and no member before it can hold its quoted name: inside a JSON
// string quotes are escaped.
func cutData(body []byte) (attributes, data []byte, ok bool) {
	attributes, data, ok = bytes.Cut(body, []byte(`,"data":`))
	if !ok || len(data) == 0 {
		return nil, nil, false
	}
	return attributes, data[:len(data)-1], true
}

// previousMember comes after every attribute that a caller has a say in, and quotes inside a
// JSON string are escaped: the last one is the attribute.
const previousMember = `,"previous":"`

// PreviousOf is the position of the event before that with this body in its aggregate; 0: there is
// none.
func PreviousOf(body []byte) (Position, error) {
	attributes, _, ok := cutData(body)
	if !ok {
		return 0, errNoData
	}
	return readPrevious(attributes)
}

var errNoData = errors.New("it has no data")

func readPrevious(attributes []byte) (Position, error) {
	start := bytes.LastIndex(attributes, []byte(previousMember))
	if start < 0 {
		return 0, nil
	}
	text, _, _ := bytes.Cut(attributes[start+len(previousMember):], []byte(`"`))
	p, err := strconv.ParseUint(string(text), 10, 64)
	return Position(p), err
}

// header is h.Get without its canonicalisation, which costs more than the look-up.
func header(h nats.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// readSubject takes the organization and the aggregate's id out of a subject.
func readSubject(subject string) (domain.OrgID, string) {
	org, rest, _ := strings.Cut(strings.TrimPrefix(subject, Events.root()), ".")
	_, id, _ := strings.Cut(rest, ".")
	return domain.OrgID(org), id
}
