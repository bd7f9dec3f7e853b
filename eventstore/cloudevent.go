package eventstore

import (
	"encoding/json"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// cloudEvent is a CloudEvents 1.0 event in structured JSON mode. Data comes last, so that
// our own decoder, which has the rest in headers, finds it by its name.
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
	Data            domain.Event `json:"data"`
}

// CloudEvent is the record as the API shows it: its position is its id, and digests are
// left out.
func (r Record) CloudEvent() ([]byte, error) {
	return json.Marshal(cloudEvent{
		SpecVersion: "1.0", ID: r.Identity(), Source: "/keytrail/" + r.Stream.String(), Type: r.Event.EventType(),
		Subject: r.Subject, Time: r.Time, DataContentType: "application/json", Position: r.Identity(),
		Org: r.Org, Actor: r.Actor, Correlation: r.Correlation, Data: domain.Public(r.Event),
	})
}
