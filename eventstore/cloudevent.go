package eventstore

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// cloudEvent is a CloudEvents 1.0 event in structured JSON mode, in NATS and over HTTP. Data
// comes last, so that our own decoder, which has the rest in headers, finds it by its name;
// before it what binds the body to its private facts.
type cloudEvent struct {
	SpecVersion     string       `json:"specversion"`
	ID              string       `json:"id"`
	Source          string       `json:"source"`
	Type            string       `json:"type"`
	Subject         string       `json:"subject,omitempty"`
	Time            time.Time    `json:"time"`
	DataContentType string       `json:"datacontenttype"`
	Position        string       `json:"position,omitempty"`
	Org             domain.OrgID `json:"orgid"`
	Actor           string       `json:"actor,omitempty"`
	Correlation     string       `json:"correlationid,omitempty"`
	Node            string       `json:"node,omitempty"`
	Decided         string       `json:"decided,omitempty"`
	Previous        string       `json:"previous,omitempty"`
	Private         string       `json:"private,omitempty"`
	Data            domain.Event `json:"data"`
}

// CloudEvent is the record as a CloudEvent: what the ledger holds of an event, with the
// position, which is known once it is stored.
func (r Record) CloudEvent() ([]byte, error) {
	return json.Marshal(cloudEvent{
		SpecVersion: "1.0", ID: r.eventID(), Source: "/keytrail/" + r.Stream.String(), Type: r.Type,
		Subject: r.Subject, Time: r.Time, DataContentType: "application/json", Position: r.storedIdentity(),
		Org: r.Org, Actor: r.Actor, Correlation: r.Correlation, Node: r.Node, Decided: r.decided(), Previous: r.previous(), Private: r.Private, Data: r.Event,
	})
}

// eventID is the CloudEvent's id, which with its source tells it from every other event:
// the message's id and, since a message holds many uses, the index of a use.
func (r Record) eventID() string {
	if r.Stream == Uses {
		return r.ID + "." + strconv.Itoa(r.Index)
	}
	return r.ID
}

// decided is the position of the events at which a use was decided.
func (r Record) decided() string {
	if r.Stream == Events {
		return ""
	}
	return strconv.FormatUint(uint64(r.Decided), 10)
}

// previous is Previous as an attribute, which the first event of an aggregate does not have.
func (r Record) previous() string {
	if r.Previous == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(r.Previous), 10)
}

// storedIdentity is Identity of a record that has a position.
func (r Record) storedIdentity() string {
	if r.Position == 0 {
		return ""
	}
	return r.Identity()
}
