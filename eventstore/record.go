package eventstore

import (
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/domain"
)

// A Position is a place in one stream: the sequence of a message. 0 is before everything.
type Position uint64

// A Stream is one of the ledger's two logs.
type Stream uint8

// The two streams. Their positions are unrelated.
const (
	Events Stream = iota
	Uses
)

// Streams are both, in the order in which they are copied: a key that is in the uses is in the
// events.
var Streams = [...]Stream{Events, Uses}

func (s Stream) String() string { return [...]string{"events", "uses"}[s] }

// name is the JetStream stream's.
func (s Stream) name() string { return [...]string{"KEYTRAIL_EVENTS", "KEYTRAIL_USES"}[s] }

// root is what the subjects of the stream begin with: all of the one that uses have.
func (s Stream) root() string { return [...]string{"keytrail.events.", "keytrail.uses"}[s] }

// subjects is the pattern of all subjects of the stream.
func (s Stream) subjects() string { return [...]string{"keytrail.events.>", "keytrail.uses"}[s] }

// A Ref names one aggregate and so one subject of the events stream.
type Ref struct {
	Org  domain.OrgID
	Kind string // "key", "organization", "keyspace", "plan", "quota", "reader", "sink", "keyring", "trail",
	// "session_keys", "user", "address", "members", "directory", "sessions" or "sso"
	ID string
}

// KeyRef names a key.
func KeyRef(org domain.OrgID, id domain.KeyID) Ref { return Ref{org, "key", string(id)} }

// OrganizationRef names an organization, which belongs to itself.
func OrganizationRef(id domain.OrgID) Ref { return Ref{id, "organization", string(id)} }

// OwnerRef names an owner of keys of an organization.
func OwnerRef(org domain.OrgID, owner string) Ref {
	return Ref{org, "owner", string(domain.NewOwnerID(org, owner))}
}

// KeyspaceRef names a keyspace.
func KeyspaceRef(name string) Ref { return Ref{domain.Installation, "keyspace", name} }

// PlanRef names a plan.
func PlanRef(name string) Ref { return Ref{domain.Installation, "plan", name} }

// QuotaRef names a quota of an organization.
func QuotaRef(org domain.OrgID, of domain.QuotaOf) Ref { return Ref{org, "quota", of.ID(org)} }

// ReaderRef names a principal as a reader, in the trail of an organization: its own, or the one
// that it read of.
func ReaderRef(trail domain.OrgID, p domain.Principal) Ref {
	return Ref{trail, "reader", domain.NewReaderID(p.Org, p.ID)}
}

// SinkRef names a sink.
func SinkRef(org domain.OrgID, id domain.SinkID) Ref { return Ref{org, "sink", string(id)} }

// SSORef names the single sign-on of an organization.
func SSORef(org domain.OrgID) Ref { return Ref{org, "sso", domain.SSOID(org)} }

// UserRef names a user.
func UserRef(id domain.UserID) Ref { return Ref{domain.Installation, "user", string(id)} }

// AddressRef names an e-mail address, which is domain.NormalEmail of itself.
func AddressRef(email string) Ref {
	return Ref{domain.Installation, "address", domain.AddressID(email)}
}

// MembersRef names the members of an organization.
func MembersRef(org domain.OrgID) Ref { return Ref{org, "members", domain.MembersID(org)} }

// DirectoryRef names the directory of an organization.
func DirectoryRef(org domain.OrgID) Ref { return Ref{org, "directory", domain.DirectoryID(org)} }

// SessionsRef names the sessions of a user in an organization; "": those in none.
func SessionsRef(org domain.OrgID, user domain.UserID) Ref {
	if org == "" {
		org = domain.Installation
	}
	return Ref{org, "sessions", string(user)}
}

// LogInsRef names the attempts to log in as a user that failed; "": those of several accounts.
func LogInsRef(user domain.UserID) Ref {
	if user == "" {
		return Ref{domain.Installation, "login", "installation"}
	}
	return Ref{domain.Installation, "login", string(user)}
}

// KeyringRef names what the ledger knows of the installation's keyring.
func KeyringRef() Ref { return Ref{domain.Installation, "keyring", "installation"} }

// TrailLogRef names what the ledger knows of the Merkle logs over it.
func TrailLogRef() Ref { return Ref{domain.Installation, "trail", "installation"} }

// SessionKeysRef names the generations of the keys that sign the tokens of sessions.
func SessionKeysRef() Ref { return Ref{domain.Installation, "session_keys", "installation"} }

func (r Ref) subject() string {
	return Events.root() + string(r.Org) + "." + r.Kind + "." + r.ID
}

func (r Ref) String() string { return r.Kind + " " + r.ID }

// A Command is why an event was written.
type Command struct {
	ID          string // the same for every attempt at one request
	Fingerprint string // hash of the request, "" if it had no Idempotency-Key
	Actor       string // the principal's id
	Correlation string // the request's id
}

// A Raw is a message as its stream holds it, not decoded.
type Raw struct {
	Position Position
	Subject  string
	Header   map[string][]string
	Data     []byte
	Stored   time.Time
}

// ID is the message's id.
func (m *Raw) ID() string { return header(m.Header, jetstream.MsgIDHeader) }

// A Record is one event as the ledger holds it.
type Record struct {
	Stream   Stream
	Position Position
	Index    int // place in a message of the uses stream, else 0
	Org      domain.OrgID
	Subject  string    // the key's or organization's id
	ID       string    // UUIDv7 of the message
	Previous Position  // of the event before it in its aggregate; 0: it is the first
	Private  string    // what binds the body to the event's private facts; "" if it has none
	Node     string    // that decided a use
	Decided  Position  // the position of the events at which a use was decided: it comes after that
	Stored   time.Time // when the server stored it
	Time     time.Time // when it happened
	Command
	Type  string // the event's stored name
	Event domain.Event
}

// Identity is the record's place in its stream, as text: "17", or "17.3" for a use.
func (r Record) Identity() string {
	s := strconv.FormatUint(uint64(r.Position), 10)
	if r.Stream == Uses {
		s += "." + strconv.Itoa(r.Index)
	}
	return s
}
