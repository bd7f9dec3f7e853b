package domain

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// A KeyspaceDefinition is the policy of a keyspace, as an operator writes it. The validate tags
// are the bounds that commands hold it to, and that the API's document states.
type KeyspaceDefinition struct {
	Description  string         `json:"description,omitempty" validate:"max=500,text"`
	Format       Format         `json:"format"`
	Presentation Presentation   `json:"presentation,omitzero"`
	Scopes       []ScopeEntry   `json:"scopes,omitempty" validate:"max=500,unique=Scope,dive"` // the catalogue; none: keys may have any scope
	Defaults     KeyDefaults    `json:"defaults,omitzero"`
	Bounds       KeyBounds      `json:"bounds,omitzero"`
	Notices      Notices        `json:"notices,omitzero"`
	Issue        *IssuePolicy   `json:"issue,omitempty"`       // nil: no keys are issued by the service itself
	Recoverable  bool           `json:"recoverable,omitempty"` // secrets are sealed, too, and can be revealed
	RevokeLeaked bool           `json:"revoke_leaked,omitempty"`
	Tokens       *TokenPolicy   `json:"tokens,omitempty"`   // nil: no tokens are derived
	Sessions     *SessionPolicy `json:"sessions,omitempty"` // nil: sessions are not good here
	Gateway      GatewayPolicy  `json:"gateway,omitzero"`
	Requirements []Requirement  `json:"requirements,omitempty" validate:"max=20,dive"`
	Replies      []Reply        `json:"replies,omitempty" validate:"max=20,dive"`
}

// A Presentation is where gateways find the key in a client's request.
type Presentation struct {
	// Places are bearer, basic (as user name), header:NAME and query:NAME, in order; none:
	// bearer, header:X-API-Key and basic.
	Places []string `json:"places,omitempty" validate:"max=10,unique,dive,place"`
	// Several is what keys in several places mean. "", refuse: the request is malformed unless
	// they are the same; first: the first place counts.
	Several string `json:"several,omitempty" validate:"omitempty,oneof=refuse first"`
	// ExactScheme takes Bearer in this spelling with one space after it alone.
	ExactScheme bool `json:"exact_scheme,omitempty"`
}

// A ScopeEntry is a line of a catalogue of scopes.
type ScopeEntry struct {
	Scope       string `json:"scope" validate:"required,scope"`
	Description string `json:"description,omitempty" validate:"max=500,text"`
	Category    string `json:"category,omitempty" validate:"max=100,text"`
}

// KeyDefaults are what a new key gets that does not say otherwise.
type KeyDefaults struct {
	TTL        Duration    `json:"ttl,omitempty" validate:"ttl"` // 0: the longest there is, or never
	Scopes     []string    `json:"scopes,omitempty" validate:"max=100,unique,dive,scope"`
	RateLimits []RateLimit `json:"rate_limits,omitempty" validate:"max=5,windows,dive"`
}

// KeyBounds are what no new key, and no change of one, may go beyond. 0: no bound.
type KeyBounds struct {
	MaxTTL              Duration `json:"max_ttl,omitempty" validate:"ttl"`
	KeysPerOwner        int      `json:"keys_per_owner,omitempty" validate:"min=0,max=1000"`
	KeysPerOrganization int      `json:"keys_per_organization,omitempty" validate:"min=0,max=100000"`
	// OneKeyPerOwner gives each owner one key, whose id follows from organization, keyspace and
	// owner. Rotation replaces its secret.
	OneKeyPerOwner bool      `json:"one_key_per_owner,omitempty"`
	MinOverlap     Duration  `json:"min_overlap,omitempty" validate:"overlap"`
	MaxOverlap     *Duration `json:"max_overlap,omitempty" validate:"omitempty,overlap"` // nil: no bound
	RotateAfter    Duration  `json:"rotate_after,omitempty" validate:"ttl"`              // the age of a secret at which its key is due for rotation
}

// Notices are when events say that something is about to happen to a key. 0: never.
type Notices struct {
	ExpiringDays int `json:"expiring_days,omitempty" validate:"min=0,max=365"` // before it expires
	IdleDays     int `json:"idle_days,omitempty" validate:"min=0,max=3650"`    // since it was used last, or created
}

// A TokenPolicy allows to derive short-lived tokens from a key.
type TokenPolicy struct {
	MaxTTL   Duration `json:"max_ttl,omitempty" validate:"token_ttl"` // 0: 5 minutes
	Audience string   `json:"audience,omitempty" validate:"max=200,text"`
}

// A SessionPolicy makes sessions of users good for the product, beside keys.
type SessionPolicy struct {
	// Roles are what roles may do at the product, beside what they may do here. An owner may do
	// everything.
	Roles []RoleScopes `json:"roles,omitempty" validate:"max=50,unique=Role,dive"`
	// Routes are the product's own, below /v1/products/{keyspace}.
	Routes []SessionRoute `json:"routes,omitempty" validate:"max=20,dive"`
}

// RoleScopes are what a role may do at a product.
type RoleScopes struct {
	Role   string   `json:"role" validate:"required,max=64,role_name"`
	Scopes []string `json:"scopes" validate:"max=100,unique,dive,scope"`
}

// ScopesOf are what a role may do at the product.
func (p *SessionPolicy) ScopesOf(role string) []string {
	for i := range p.Roles {
		if p.Roles[i].Role == role {
			return p.Roles[i].Scopes
		}
	}
	return nil
}

// DefaultTokenTTL is the longest life of a derived token unless a keyspace says otherwise.
const DefaultTokenTTL = Duration(5 * time.Minute)

// A GatewayPolicy is how gateways are asked and answered.
type GatewayPolicy struct {
	// Demands are what a gateway must say of each request: scope, organization, cost.
	Demands []string `json:"demands,omitempty" validate:"max=3,unique,dive,oneof=scope organization cost"`
	// RecordResource keeps method and path of each request on the trail.
	RecordResource bool `json:"record_resource,omitempty"`
	// RateLimitHeaders are x-ratelimit and ratelimit, the second as in the IETF's draft.
	RateLimitHeaders []string `json:"rate_limit_headers,omitempty" validate:"max=2,unique,dive,oneof=x-ratelimit ratelimit"`
}

// A Requirement is an attribute that the owner of a key, or its organization, must have.
type Requirement struct {
	Attribute string     `json:"attribute" validate:"required,max=64,metakey"`
	Of        string     `json:"of,omitempty" validate:"omitempty,oneof=owner organization"` // "": owner
	Reply     *ReplyText `json:"reply,omitempty"`                                            // nil: that of REQUIREMENT_UNMET
}

// OfOrganization reports whether it is the organization that must have the attribute.
func (r Requirement) OfOrganization() bool { return r.Of == "organization" }

// A Reply is what a gateway answers its client in some cases.
type Reply struct {
	For []ReplyCase `json:"for" validate:"required,min=1,max=20,unique,dive,reply_case"`
	ReplyText
}

// A ReplyText is an answer. Its body is a text/template with the fields of ReplyFields.
type ReplyText struct {
	Status      int               `json:"status" validate:"min=400,max=599"`
	ContentType string            `json:"content_type,omitempty" validate:"omitempty,max=100,media_type"` // "": application/json
	Headers     map[string]string `json:"headers,omitempty" validate:"max=10,dive,keys,max=64,reply_header,endkeys,max=500,header_value"`
	Body        string            `json:"body,omitempty" validate:"max=4096,body_text"`
}

// A ReplyCase is an outcome, or one of the cases below.
type ReplyCase string

// The cases in which there is no outcome.
const (
	ReplyMissing     ReplyCase = "MISSING"     // no key was presented
	ReplyMalformed   ReplyCase = "MALFORMED"   // it was presented in a way that is not taken
	ReplyUnavailable ReplyCase = "UNAVAILABLE" // the service cannot tell at the moment
)

// ReplyCases are all of them.
func ReplyCases() []ReplyCase {
	all := []ReplyCase{ReplyMissing, ReplyMalformed, ReplyUnavailable}
	for _, o := range Outcomes {
		if o != UseValid {
			all = append(all, ReplyCase(o))
		}
	}
	return all
}

// maxDefinition is how many bytes a definition has at most as JSON.
const maxDefinition = 32 << 10

// check refuses what the tags of the fields cannot tell.
func (d *KeyspaceDefinition) check() error {
	if err := d.Format.check(); err != nil {
		return err
	}
	b := d.Bounds
	switch {
	case b.MaxTTL != 0 && d.Defaults.TTL > b.MaxTTL:
		return InvalidField("defaults.ttl", "must be at most bounds.max_ttl")
	case b.MaxOverlap != nil && b.MinOverlap > *b.MaxOverlap:
		return InvalidField("bounds.min_overlap", "must be at most bounds.max_overlap")
	case b.OneKeyPerOwner && b.KeysPerOwner > 1:
		return InvalidField("bounds.keys_per_owner", "must be left out beside one_key_per_owner")
	}
	if err := d.Presentation.check(); err != nil {
		return err
	}
	for i, s := range d.Defaults.Scopes {
		if !d.hasScope(s) {
			return InvalidField("defaults.scopes["+itoa(i)+"]", "is not in the catalogue under scopes")
		}
	}
	if err := d.checkSessions(); err != nil {
		return err
	}
	if err := d.checkReplies(); err != nil {
		return err
	}
	if err := d.checkIssue(); err != nil {
		return err
	}
	if err := d.Sessions.check(); err != nil {
		return err
	}
	if len(d.canonical()) > maxDefinition {
		return InvalidField("", "a keyspace may have at most %d bytes as JSON", maxDefinition)
	}
	return nil
}

// checkSessions refuses scopes of roles that the catalogue lacks.
func (d *KeyspaceDefinition) checkSessions() error {
	if d.Sessions == nil {
		return nil
	}
	for i, r := range d.Sessions.Roles {
		for j, s := range r.Scopes {
			if !d.hasScope(s) {
				return InvalidField("sessions.roles["+itoa(i)+"].scopes["+itoa(j)+"]", "is not in the catalogue under scopes")
			}
		}
	}
	return nil
}

// check refuses a header that is named twice: the case of its letters means nothing.
func (p Presentation) check() error {
	seen := map[string]bool{}
	for i, place := range p.Places {
		if strings.HasPrefix(place, "header:") {
			place = strings.ToLower(place)
		}
		if seen[place] {
			return InvalidField("presentation.places["+itoa(i)+"]", "must not be the header of another place")
		}
		seen[place] = true
	}
	return nil
}

// hasScope reports whether a key may have a scope: the catalogue has it, or some that a
// wildcard stands for. An empty catalogue has all.
func (d *KeyspaceDefinition) hasScope(scope string) bool {
	return len(d.Scopes) == 0 || slices.ContainsFunc(d.Scopes, func(e ScopeEntry) bool { return covers([]string{scope}, e.Scope) })
}

// canonical is the definition as JSON: the same for definitions that mean the same.
func (d KeyspaceDefinition) canonical() []byte { return canonicalJSON(d) }

func canonicalJSON(definition any) []byte {
	b, err := json.Marshal(definition)
	if err != nil {
		panic(err) // texts and numbers alone
	}
	return b
}

func (d KeyspaceDefinition) equals(e KeyspaceDefinition) bool {
	return bytes.Equal(d.canonical(), e.canonical())
}
