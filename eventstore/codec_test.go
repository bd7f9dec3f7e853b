package eventstore

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/keytrail/keytrail/domain"
)

var add = flag.Bool("samples.add", false, "write the samples that are missing")

// samples are one event of each stored name, as it was when the name was first written.
func samples() []domain.Event {
	at := sampleTime
	name, org := "renamed", domain.NewOrgID("acme")
	digest := domain.NewSecret("sample").Digest()
	return []domain.Event{
		domain.KeyCreated{ID: domain.NewKeyID("", "k"), Org: org, Keyspace: "default", Settings: domain.Settings{Name: "ci", Owner: "o", Scopes: []string{"a:read"}, ExpiresAt: at, RateLimits: []domain.RateLimit{{Limit: 100, Window: domain.Duration(time.Minute)}}, AllowedCIDRs: []string{"192.0.2.0/24"}, Metadata: map[string]string{"plan": "pro"}}, Digest: digest, Prefix: "kt_live_abcd", Header: domain.Header{At: at, By: "system"}},
		domain.KeyUpdated{Prefix: "kt_live_abcd", Changes: domain.Changes{Name: &name}, NoExpiry: true, Header: domain.Header{At: at, By: "system"}},
		domain.KeyRotated{Digest: digest, Prefix: "kt_live_efgh", OldValidUntil: at, Header: domain.Header{At: at, By: "system"}},
		domain.KeyDisabled{Prefix: "kt_live_abcd", Header: domain.Header{At: at, By: "system"}},
		domain.KeyEnabled{Prefix: "kt_live_abcd", Header: domain.Header{At: at, By: "system"}},
		domain.KeyRevoked{Prefix: "kt_live_abcd", Reason: domain.KeyCompromise, Comment: "leaked", Header: domain.Header{At: at, By: "system"}},
		domain.KeyExpired{Prefix: "kt_live_abcd", ExpiresAt: at, Header: domain.Header{At: at}},
		domain.KeyRevealed{Prefix: "kt_live_abcd", Header: domain.Header{At: at, By: "system"}},
		domain.TokenDerived{Prefix: "kt_live_abcd", ID: "00000000-0000-4000-8000-000000000000", Scopes: []string{"a:read"}, Audience: "shop", ExpiresAt: at, Header: domain.Header{At: at, By: "system"}},
		domain.KeyExpiring{Prefix: "kt_live_abcd", ExpiresAt: at, Header: domain.Header{At: at}},
		domain.KeyIdle{Prefix: "kt_live_abcd", LastUsedAt: at, Since: at, Header: domain.Header{At: at}},
		domain.KeyAbandoned{ID: domain.NewKeyID("", "k"), Header: domain.Header{At: at, By: "system"}},
		domain.QuotaReserved{QuotaOf: sampleQuota, Key: domain.NewKeyID("", "k"), Revision: 7, Again: true, Existing: []domain.KeyID{domain.NewKeyID("", "j")}, Header: domain.Header{At: at, By: "system"}},
		domain.QuotaReleased{QuotaOf: sampleQuota, Keys: []domain.KeyID{domain.NewKeyID("", "k")}, Header: domain.Header{At: at, By: "system"}},
		domain.KeyLeaked{Prefix: "kt_live_abcd", Source: "github content", URL: "https://github.com/acme/repo/blob/main/.env", Header: domain.Header{At: at, By: "leaks"}},
		domain.KeyUsed{Key: domain.NewKeyID("", "k"), Code: domain.UseValid, Scopes: []string{"a:read"}, IP: "192.0.2.7", Principal: "system",
			RequestID: "r-1", Windows: []int64{60000}, At: at},
		domain.CredentialsRefused{Principal: "authorize", Count: 3, From: at, To: at},
		domain.OrganizationCreated{ID: org, Name: "acme", Header: domain.Header{At: at, By: "system"}},
		domain.OrganizationUpdated{Name: new("globex"), Attributes: &domain.Attributes{"plan": "pro"}, Header: domain.Header{At: at, By: "system"}},
		domain.OrganizationSuspended{Reason: "unpaid", Header: domain.Header{At: at, By: "system"}},
		domain.OrganizationResumed{Header: domain.Header{At: at, By: "system"}},
		domain.OwnerUpdated{Owner: "user_42", Attributes: domain.Attributes{"discord_id": "80351110224678912"}, Header: domain.Header{At: at, By: "system"}},
		domain.KeyspaceDefined{Name: "pingward", Definition: sampleDefinition, Header: domain.Header{At: at, By: "system"}},
		domain.KeyspaceUpdated{Name: "pingward", Definition: sampleDefinition, Header: domain.Header{At: at, By: "system"}},
		domain.KeyspaceRetired{Name: "pingward", Header: domain.Header{At: at, By: "system"}},
		domain.KeyspaceReinstated{Name: "pingward", Header: domain.Header{At: at, By: "system"}},
		domain.PlanDefined{Name: "pro", Definition: samplePlan, Header: domain.Header{At: at, By: "system"}},
		domain.PlanUpdated{Name: "pro", Definition: samplePlan, Header: domain.Header{At: at, By: "system"}},
		domain.PlanRetired{Name: "pro", Header: domain.Header{At: at, By: "system"}},
		domain.TrailRead{Access: domain.AccessPage, Filter: map[string]string{"key_id": string(domain.NewKeyID("", "k"))}, Occurrences: sampleOccurrences},
		domain.KeysRead{Reading: sampleReading},
		domain.UsersRead{Reading: sampleReading},
		domain.MembersRead{Reading: sampleReading},
		domain.SessionsRead{Reading: sampleReading},
		domain.AccessRefused{Route: "GET /v1/keys", Scope: "keys:read", Code: "scope_missing", Occurrences: sampleOccurrences},
		domain.SinkCreated{ID: sampleSink, Org: org, Definition: sampleSinkDefinition, Credentials: []string{"headers"}, PublicKey: "whpk_AAAA", After: domain.TrailPlace{Events: 17, Uses: 5}, Sealed: []byte("sealed 1"), Header: domain.Header{At: at, By: "system"}},
		domain.SinkUpdated{Definition: sampleSinkDefinition, Credentials: []string{"headers"}, Sealed: []byte("sealed 2"), Header: domain.Header{At: at, By: "system"}},
		domain.SinkSecretRotated{PublicKey: "whpk_AAAA", OldValidUntil: at, Sealed: []byte("sealed 3"), Header: domain.Header{At: at, By: "system"}},
		domain.SinkPaused{Reason: domain.PausedFailing, Detail: "503 Service Unavailable", Header: domain.Header{At: at, By: "system"}},
		domain.SinkResumed{Header: domain.Header{At: at, By: "system"}},
		domain.SinkReplayed{Number: 1, SinkReplayRange: domain.SinkReplayRange{From: domain.TrailPlace{Events: 1}, To: domain.TrailPlace{Events: 17, Uses: 5}}, Header: domain.Header{At: at, By: "system"}},
		domain.SinkReplayEnded{Number: 1, SinkReplayResult: domain.SinkReplayResult{Delivered: 12, Rejected: 1}, Header: domain.Header{At: at, By: "system"}},
		domain.SinkGap{SinkSpan: domain.SinkSpan{Stream: "uses", From: 1, To: 9, Reason: domain.GapPruned}, Header: domain.Header{At: at, By: "system"}},
		domain.SinkDeleted{Header: domain.Header{At: at, By: "system"}},
		domain.UserCreated{ID: sampleUser, Email: "ada@example.com", Directory: org, Name: "Ada", Attributes: domain.Attributes{"plan": "pro"}, Password: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA", Header: domain.Header{At: at, By: "system"}},
		domain.UserUpdated{Email: new("ada@example.org"), Name: new("Ada L."), Attributes: &domain.Attributes{"plan": "free"}, Header: domain.Header{At: at, By: "system"}},
		domain.UserDisabled{Header: domain.Header{At: at, By: "system"}},
		domain.UserEnabled{Header: domain.Header{At: at, By: "system"}},
		domain.UserRemoved{Email: "ada@example.com", Header: domain.Header{At: at, By: "system"}},
		domain.PasswordChanged{Reset: true, Kept: sampleSession, Password: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA", Header: domain.Header{At: at, By: "system"}},
		domain.PasswordResetRequested{ExpiresAt: at, Digest: digest, Header: domain.Header{At: at, By: "system"}},
		domain.SessionsRevoked{Kept: sampleSession, Header: domain.Header{At: at, By: "system"}},
		domain.IdentityLinked{Identity: domain.Identity{Org: org, Issuer: "https://id.example.com", Subject: "00u1"}, Header: domain.Header{At: at, By: "system"}},
		domain.IdentityUnlinked{Identity: domain.Identity{Org: org, Issuer: "https://id.example.com", Subject: "00u1"}, Header: domain.Header{At: at, By: "system"}},
		domain.AddressClaimed{Email: "ada@example.com", User: sampleUser, Header: domain.Header{At: at, By: "system"}},
		domain.AddressReleased{Email: "ada@example.com", User: sampleUser, Header: domain.Header{At: at, By: "system"}},
		domain.MembershipCreated{User: sampleUser, Role: "admin", Invitation: sampleInvitation, Directory: "00u1", Header: domain.Header{At: at, By: "system"}},
		domain.MembershipUpdated{User: sampleUser, Role: "owner", Former: "admin", Header: domain.Header{At: at, By: "system"}},
		domain.MembershipRemoved{User: sampleUser, Role: "owner", Reason: "directory", Header: domain.Header{At: at, By: "system"}},
		domain.RoleDefined{Role: "auditor", Scopes: []string{"audit:read"}, Header: domain.Header{At: at, By: "system"}},
		domain.RoleRemoved{Role: "auditor", Header: domain.Header{At: at, By: "system"}},
		domain.InvitationTokenRotated{ID: sampleInvitation, Email: "ada@example.com", Digest: digest, Header: domain.Header{At: at, By: "system"}},
		domain.AddressForgone{Email: "ada@example.com", Header: domain.Header{At: at, By: "system"}},
		domain.InvitationCreated{ID: sampleInvitation, Inviter: sampleUser, Email: "ada@example.com", Role: "member", ExpiresAt: at, Digest: digest, Header: domain.Header{At: at, By: "system"}},
		domain.InvitationRevoked{ID: sampleInvitation, Header: domain.Header{At: at, By: "system"}},
		domain.SessionCreated{ID: sampleSession, User: sampleUser, Org: org, Method: domain.BySSO, Issuer: "https://id.example.com", IP: "192.0.2.7", UserAgent: "curl/8", ExpiresAt: at, Switched: domain.NewSessionID("t"), Replaced: []domain.SessionID{domain.NewSessionID("r")}, Header: domain.Header{At: at, By: string(sampleUser)}},
		domain.LogInRefused{User: sampleUser, Count: 7, Held: 100, First: at, Addresses: []domain.AddressFailures{{IP: "192.0.2.1", Known: true, Count: 7}},
			Accounts: []domain.AccountFailures{{Account: "0123456789abcdef0123456789abcdef", Count: 1}}, Header: domain.Header{At: at}},
		domain.SessionEnded{ID: sampleSession, User: sampleUser, Reason: domain.SignedOut, Header: domain.Header{At: at, By: string(sampleUser)}},
		domain.DirectoryUpdated{DirectorySettings: domain.DirectorySettings{GroupRoles: []domain.GroupRole{{Group: "Keytrail admins", Role: "admin"}}, DefaultRole: "member"}, Header: domain.Header{At: at, By: "system"}},
		domain.DirectoryUserCreated{User: sampleUser, DirectoryProfile: sampleProfile, Adopted: true, Header: domain.Header{At: at, By: "system"}},
		domain.DirectoryUserUpdated{User: sampleUser, DirectoryProfile: sampleProfile, Header: domain.Header{At: at, By: "system"}},
		domain.DirectoryUserRemoved{User: sampleUser, UserName: "ada@example.com", Header: domain.Header{At: at, By: "system"}},
		domain.DirectoryGroupCreated{Group: sampleGroup, DirectoryGroupName: domain.DirectoryGroupName{Name: "Keytrail admins", ExternalID: "g-1"}, Header: domain.Header{At: at, By: "system"}},
		domain.DirectoryGroupUpdated{Group: sampleGroup, DirectoryGroupName: domain.DirectoryGroupName{Name: "Admins", ExternalID: "g-1"}, Header: domain.Header{At: at, By: "system"}},
		domain.DirectoryGroupMembersChanged{Group: sampleGroup, Added: []domain.UserID{sampleUser}, Removed: []domain.UserID{domain.NewUserID("r")}, Header: domain.Header{At: at, By: "system"}},
		domain.DirectoryGroupRemoved{Group: sampleGroup, Name: "Admins", Header: domain.Header{At: at, By: "system"}},
		domain.SSOConfigured{SSODefinition: sampleSSO, HasSecret: true, Sealed: []byte("sealed 4"), Header: domain.Header{At: at, By: "system"}},
		domain.SSOUpdated{SSODefinition: sampleSSO, HasSecret: true, Sealed: []byte("sealed 5"), Header: domain.Header{At: at, By: "system"}},
		domain.SSORemoved{Header: domain.Header{At: at, By: "system"}},
		domain.KeyringSet{Fingerprint: "0123456789abcdef0123", Before: "3210fedcba9876543210", Header: domain.Header{At: at, By: "system"}},
		domain.TrailBegun{Log: 2, Origin: "keytrail/0123456789abcdef0123/89abcdef", Reason: domain.TrailRestored, Comment: "a disk was lost", Restored: "2026-11-20T11:00:00Z", Previous: map[string]string{"events": sampleNote}, VerifierKeys: sampleVerifiers, Header: domain.Header{At: at, By: "system"}},
		domain.TrailKeysRotated{Log: 2, Generation: 2, OldUntil: at, VerifierKeys: sampleVerifiers, Header: domain.Header{At: at, By: "system"}},
		domain.SessionKeysRotated{Generation: 2, OldUntil: at, Header: domain.Header{At: at, By: "system"}},
		domain.TrailForkDetected{Log: 2, Stream: "events", Finding: "it ends at position 6, and 7 messages were signed", Checkpoint: sampleNote, Header: domain.Header{At: at, By: "system"}},
	}
}

// sampleNote and sampleVerifiers are like those of a log, and shorter.
var (
	sampleNote      = "keytrail/0123456789abcdef0123/76543210/events\n7\nX0bKyS0nGcSjb4NFtGyy+s8EzOkz2zQZ8NWdQk4cVDg=\n\n"
	sampleVerifiers = map[string][]string{"events": {"keytrail/0123456789abcdef0123/89abcdef/events+530d903a+ARFZ"}, "uses": {"keytrail/0123456789abcdef0123/89abcdef/uses+530d903b+ARFZ"}}
)

// sampleGroup and sampleProfile are of a directory.
var (
	sampleGroup   = domain.NewGroupID(domain.NewOrgID("o"), "g")
	sampleProfile = domain.DirectoryProfile{UserName: "ada@example.com", ExternalID: "00u1", Email: "ada@example.com", DisplayName: "Ada L.", FullName: "Ada Lovelace", GivenName: "Ada", FamilyName: "Lovelace"}
)

// sampleDefinition has something of every part of a definition.
var sampleDefinition = domain.KeyspaceDefinition{
	Description:  "Workspace keys",
	Format:       domain.Format{Prefix: "pw_", Environments: []domain.Environment{{Name: "live", Tag: "live_"}}, Alphabet: domain.Base62, Length: 32, Checksum: domain.CRC32, Shown: 4},
	Presentation: domain.Presentation{Places: []string{"header:X-API-Key"}, Several: "first", ExactScheme: true},
	Scopes:       []domain.ScopeEntry{{Scope: "a:read", Description: "Read a", Category: "a"}},
	Defaults:     domain.KeyDefaults{TTL: domain.Duration(time.Hour), Scopes: []string{"a:read"}, RateLimits: []domain.RateLimit{{Limit: 100, Window: domain.Duration(time.Minute)}}},
	Bounds:       domain.KeyBounds{MaxTTL: domain.Duration(time.Hour), KeysPerOwner: 3, KeysPerOrganization: 9, MinOverlap: domain.Duration(time.Minute), RotateAfter: domain.Duration(time.Hour)},
	Notices:      domain.Notices{ExpiringDays: 7, IdleDays: 90},
	Issue:        &domain.IssuePolicy{On: domain.IssueOnUser, Organization: domain.NewOrgID("acme"), Environment: "live", Name: "first key", Scopes: []string{"a:read"}},
	RevokeLeaked: true, Recoverable: true,
	Tokens: &domain.TokenPolicy{MaxTTL: domain.Duration(time.Minute), Audience: "pingward"},
	Sessions: &domain.SessionPolicy{Roles: []domain.RoleScopes{{Role: "member", Scopes: []string{"a:read"}}}, Routes: []domain.SessionRoute{{Method: "POST", Path: "/login", Does: domain.LogIn, Fields: map[string]string{"email": "user"},
		Replies: []domain.SessionReply{{For: []domain.SessionCase{domain.SessionOK}, Status: 200, ContentType: "application/json", Headers: map[string]string{"X-A": "b"}, Body: "{}"}}}}},
	Gateway:      domain.GatewayPolicy{Demands: []string{"scope"}, RecordResource: true, RateLimitHeaders: []string{"x-ratelimit"}},
	Requirements: []domain.Requirement{{Attribute: "plan", Of: "organization", Reply: &domain.ReplyText{Status: 403, Body: "{}"}}},
	Replies:      []domain.Reply{{For: []domain.ReplyCase{domain.ReplyMissing}, ReplyText: domain.ReplyText{Status: 401, ContentType: "text/plain", Headers: map[string]string{"X-A": "b"}, Body: "no"}}},
}

var (
	sampleUser       = domain.NewUserID("u")
	sampleSession    = domain.NewSessionID("s")
	sampleInvitation = domain.NewInvitationID("", "i")
)

// samplePlan has something of every part of a definition.
var samplePlan = domain.PlanDefinition{Description: "Ten keys", ProgrammaticAccess: true, KeysAtMost: new(10), UsesAMonth: new(int64(100_000)), UsesAMonthPerOwner: new(int64(50_000)),
	UsesAMonthPerKey: new(int64(0)), RateLimits: []domain.RateLimit{{Limit: 100, Window: domain.Duration(time.Minute)}}, Scopes: []string{"a:read"}}

var sampleSink = domain.NewSinkID("", "s")

var (
	sampleTime        = time.Date(2026, 11, 20, 12, 0, 0, 123e6, time.UTC)
	sampleOccurrences = domain.Occurrences{From: sampleTime, To: sampleTime, Count: 3, First: sampleTime, Header: domain.Header{At: sampleTime, By: "system"}}
	sampleReading     = domain.Reading{Route: "GET /v1/keys", Filter: map[string]string{"owner": "ann"}, Occurrences: sampleOccurrences}
)

// sampleSinkDefinition has something of every part of a definition.
var sampleSinkDefinition = domain.SinkDefinition{Name: "siem", Type: domain.SinkWebhook, URL: "https://siem.example.com/in", Format: domain.FormatOCSF, EventTypes: []string{"key.used"},
	Uses: domain.SinkUses{Mode: "sampled", OneIn: 10}, Settings: domain.SinkSettings{SignAsymmetric: true}}

// sampleSSO has something of every part of a definition.
var sampleSSO = domain.SSODefinition{Issuer: "https://id.example.com", ClientID: "keytrail", Scopes: []string{"groups"}, GroupClaim: "groups", GroupRoles: []domain.GroupRole{{Group: "admins", Role: "admin"}},
	DefaultRole: "member", ReturnURLs: []string{"https://app.example.com/login"}, Enforced: true}

var sampleQuota = domain.QuotaOf{Keyspace: "pingward", Owner: new("ann")}

// sampleMessage is e as the ledger takes it.
func sampleMessage(e domain.Event) (*nats.Msg, error) {
	org, command := domain.NewOrgID("acme"), Command{ID: "c-1", Fingerprint: "f-1", Actor: "system", Correlation: "r-1"}
	switch e := e.(type) {
	case domain.KeyUsed:
		var b UseBatch
		b.Add(org, &e, 12)
		return usesMessage("node-1", &b), nil
	case domain.CredentialsRefused:
		var b UseBatch
		b.AddRefused(org, &e, 12)
		return usesMessage("node-1", &b), nil
	case domain.OwnerUpdated:
		return Message(OwnerRef(org, e.Owner), 7, command, e)
	}
	switch kind, _, _ := strings.Cut(domain.TypeOf(e), "."); kind {
	case "keyspace":
		return Message(KeyspaceRef("pingward"), 7, command, e)
	case "plan":
		return Message(PlanRef("pro"), 7, command, e)
	case "sink":
		return Message(SinkRef(org, sampleSink), 7, command, e)
	case "sso":
		return Message(SSORef(org), 7, command, e)
	case "quota":
		return Message(QuotaRef(org, sampleQuota), 7, command, e)
	case "audit", "keys", "users", "members", "sessions", "access":
		return Message(ReaderRef(org, domain.Principal{ID: "system", Org: org}), 7, command, e)
	case "organization":
		return Message(OrganizationRef(org), 7, command, e)
	}
	return Message(KeyRef(org, domain.NewKeyID("", "k")), 7, command, e)
}

// A sample is a message in a file of testdata/events: three lines of JSON, so that the body
// is there to the byte; one that is compressed as a string in base64.
type sample struct {
	Subject string          `json:"subject"`
	Header  nats.Header     `json:"header"`
	Body    json.RawMessage `json:"body"`
}

func (s sample) stream() Stream {
	if s.Subject == Uses.root() {
		return Uses
	}
	return Events
}

func readSample(t *testing.T, e domain.Event) sample {
	t.Helper()
	file := filepath.Join("testdata", "events", domain.TypeOf(e)+".json")
	written, err := os.ReadFile(file)
	if os.IsNotExist(err) && *add {
		m, err := sampleMessage(e)
		if err != nil {
			t.Fatal(err)
		}
		header, _ := json.Marshal(m.Header)
		body := m.Data
		if m.Subject == Uses.root() {
			body, _ = json.Marshal(m.Data)
		}
		written = fmt.Appendf(nil, "{\"subject\":%q,\n\"header\":%s,\n\"body\":%s}\n", m.Subject, header, body)
		if err := os.WriteFile(file, written, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if err != nil {
		t.Fatalf("%s has no sample: %v", domain.TypeOf(e), err)
	}
	var s sample
	if err := json.Unmarshal(written, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s sample) records() ([]Record, error) {
	m := &Raw{Subject: s.Subject, Header: s.Header, Data: s.Body, Position: 17}
	if s.stream() == Events {
		return readEvents(m)
	}
	if err := json.Unmarshal(s.Body, &m.Data); err != nil {
		return nil, err
	}
	return appendUses(nil, m, nil)
}

// readEvents is the event of m, none if it cannot be read.
func readEvents(m *Raw) ([]Record, error) {
	r, err := readEvent(m)
	if err != nil {
		return nil, err
	}
	return []Record{r}, nil
}

// TestEverySampleIsStillRead decodes what was once written. A sample is never edited: an
// event that changes its shape gets a new name.
func TestEverySampleIsStillRead(t *testing.T) {
	names := map[string]bool{}
	for _, e := range samples() {
		names[domain.TypeOf(e)] = true
		records, err := readSample(t, e).records()
		if err != nil || len(records) != 1 || !reflect.DeepEqual(records[0].Event, e) || records[0].Time.IsZero() {
			t.Errorf("%s is read as %+v, %v", domain.TypeOf(e), records, err)
		}
	}
	for _, e := range domain.EventTypes {
		if !names[e.Name] {
			t.Errorf("%s has no sample", e.Name)
		}
	}
}

// TestAnEventIsTheSameInBothChannels: what is read over HTTP is the body on NATS with its
// position; for a use, an event whose id follows from the message's.
func TestAnEventIsTheSameInBothChannels(t *testing.T) {
	for _, e := range samples() {
		s := readSample(t, e)
		records, err := s.records()
		if err != nil {
			t.Fatal(err)
		}
		shown, err := records[0].CloudEvent()
		if err != nil {
			t.Fatal(err)
		}
		if s.stream() == Uses {
			if want := `"id":"` + s.Header["Nats-Msg-Id"][0] + `.0",`; !strings.Contains(string(shown), want) {
				t.Errorf("a use is shown as %s, not with %s", shown, want)
			}
			continue
		}
		if without := strings.Replace(string(shown), `"position":"`+records[0].Identity()+`",`, "", 1); without != string(s.Body) {
			t.Errorf("%s is shown as %s, is on the ledger as %s", domain.TypeOf(e), shown, s.Body)
		}
	}
}

// TestThePrivateHeaderFitsItsBody: a header that was taken away, exchanged, edited or added is
// refused.
func TestThePrivateHeaderFitsItsBody(t *testing.T) {
	created, rotated, disabled := readSample(t, domain.KeyCreated{}), readSample(t, domain.KeyRotated{}), readSample(t, domain.KeyDisabled{})
	private := created.Header[headerPrivate][0]
	for name, c := range map[string]struct {
		body  json.RawMessage
		kind  string
		value string
	}{
		"taken away":          {created.Body, "key.created", ""},
		"of another event":    {created.Body, "key.created", rotated.Header[headerPrivate][0]},
		"another digest":      {created.Body, "key.created", strings.Replace(private, `"digest":"a`, `"digest":"b`, 1)},
		"another salt":        {created.Body, "key.created", "00" + private[2:]},
		"added":               {disabled.Body, "key.disabled", private},
		"binding taken away":  {bytes.Replace(created.Body, []byte(`,"private":"`), []byte(`,"pirvate":"`), 1), "key.created", private},
		"both taken away":     {regexp.MustCompile(`,"private":"\w+"`).ReplaceAll(created.Body, nil), "key.created", ""},
		"empty":               {append(append([]byte{}, disabled.Body[:bytes.Index(disabled.Body, []byte(`,"data"`))]...), `,"data":`...), "key.disabled", ""},
		"both added":          {bytes.Replace(disabled.Body, []byte(`,"data"`), []byte(`,"private":"`+bindPrivate(private)+`","data"`), 1), "key.disabled", private},
		"bound without a dot": {bytes.Replace(created.Body, []byte(bindPrivate(private)), []byte(bindPrivate("x")), 1), "key.created", "x"},
	} {
		header := nats.Header{headerType: {c.kind}}
		setIf(header, headerPrivate, c.value)
		records, err := readEvents(&Raw{Subject: created.Subject, Header: header, Data: c.body})
		if err == nil || len(records) > 0 {
			t.Errorf("%s: read as %+v", name, records)
		}
	}
}

// TestABodyIsPublic: neither a stored body nor what is shown holds a digest, and equal
// digests leave no equal trace.
func TestABodyIsPublic(t *testing.T) {
	spelled, _ := domain.NewSecret("sample").Digest().MarshalText()
	bindings := map[string]bool{}
	for _, e := range samples() {
		for range 2 {
			m, err := sampleMessage(e)
			if err != nil || bytes.Contains(m.Data, spelled) || bytes.Contains(m.Data, []byte("digest")) {
				t.Errorf("%s: %s %v", domain.TypeOf(e), m.Data, err)
			}
			if _, ok := e.(domain.Confidential); ok {
				records, err := readEvents(&Raw{Subject: m.Subject, Header: m.Header, Data: m.Data})
				if err != nil || bindings[records[0].Private] {
					t.Errorf("%s is bound by %s, %v", domain.TypeOf(e), records[0].Private, err)
				}
				bindings[records[0].Private] = true
			}
		}
	}
}

func FuzzEvent(f *testing.F) {
	f.Add("key.created", []byte(`{"specversion":"1.0","data":{"name":"n"}}`))
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		_, _ = readEvent(&Raw{Subject: "keytrail.events.o.key.k", Header: map[string][]string{headerType: {kind}}, Data: body})
	})
}

// BenchmarkDecode is what a replay pays for each key.created beside reading it.
func BenchmarkDecode(b *testing.B) {
	e := domain.KeyCreated{ID: domain.NewKeyID("", "k"), Org: domain.NewOrgID("o"), Keyspace: "default", Settings: domain.Settings{Name: "key 1", Owner: "o", Scopes: []string{"a:b"}},
		Digest: domain.NewSecret("s").Digest(), Prefix: "kt_live_abcd", Header: domain.Header{At: time.Now().UTC(), By: "system"}}
	m, err := Message(KeyRef(e.Org, e.ID), 0, Command{ID: "c", Actor: "system"}, e)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err = readEvent(&Raw{Subject: m.Subject, Header: m.Header, Data: m.Data}); err != nil {
			b.Fatal(err)
		}
	}
}
