package domain

import "time"

// A ReactionStatus is how far reactions have come, and how they fare.
type ReactionStatus struct {
	Position     uint64            `json:"position" doc:"All that follows from the events up to it is on the ledger."`
	LagEvents    uint64            `json:"lag_events" doc:"Events about people and keyspaces after that."`
	Issued       uint64            `json:"issued" doc:"Keys that were issued, but for one or the other before a crash."`
	Revoked      uint64            `json:"revoked" doc:"Keys of people who are gone that were revoked."`
	Refused      uint64            `json:"refused" doc:"Commands that were refused, and are not tried again."`
	Refusals     []ReactionRefusal `json:"refusals" doc:"The last 20 of them."`
	FailingSince time.Time         `json:"failing_since,omitzero" doc:"Missing: the last attempt succeeded."`
	LastError    string            `json:"last_error,omitempty"`
	LastErrorAt  time.Time         `json:"last_error_at,omitzero"`
	Node         string            `json:"node,omitempty" doc:"The process that reacts, or did last."`
}

// A ReactionRefusal is a command that followed from an event and was refused.
type ReactionRefusal struct {
	Position uint64    `json:"position" doc:"Of the event."`
	At       time.Time `json:"at"`
	Org      OrgID     `json:"org_id"`
	User     UserID    `json:"user_id"`
	Keyspace string    `json:"keyspace,omitempty" doc:"In which a key was to be issued."`
	Key      KeyID     `json:"key_id,omitempty" doc:"That was to be revoked."`
	Code     string    `json:"code"`
	Detail   string    `json:"detail"`
}
