package eventstore

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/fastjson"
)

// A message of uses is lines of JSON, compressed: a head, then one use a line, of whatever
// organizations, in the order in which they were decided. docs/events.md describes it for
// other readers. The bytes of a line are the canonical form of its use.

// maxBatchBytes keeps a message of uses under 64 KiB, however little it can be compressed.
const maxBatchBytes = 60 << 10

// A UseBatch is the uses for one message, written by hand because it is on the path of every
// verification. The zero value is empty. It must not be changed once AppendUses was called.
type UseBatch struct {
	lines   []byte
	n       int
	decided Position  // of the first use
	message *nats.Msg // made by the first append, so that a repeated one is the same
}

// Len is the number of uses in b.
func (b *UseBatch) Len() int { return b.n }

// Size is the memory of its uses in bytes.
func (b *UseBatch) Size() int { return len(b.lines) }

// Reset empties b for another message and keeps its memory.
func (b *UseBatch) Reset() { *b = UseBatch{lines: b.lines[:0]} }

// Add puts a use of a key or a session of org into b; decided is the position of the events at which its
// outcome was decided. It returns false, and leaves b as it was, if that is full.
func (b *UseBatch) Add(org domain.OrgID, u *domain.KeyUsed, decided Position) bool {
	before := len(b.lines)
	b.begin(org, kindOf(u.Key), string(u.Key), u.Code, u.At, decided)
	b.texts(`,"scopes":`, u.Scopes)
	b.lines = fastjson.AppendOptionalMember(b.lines, `,"ip":`, u.IP)
	b.lines = fastjson.AppendOptionalMember(b.lines, `,"by":`, u.Principal)
	b.lines = fastjson.AppendOptionalMember(b.lines, `,"request_id":`, u.RequestID)
	b.lines = fastjson.AppendOptionalMember(b.lines, `,"resource":`, u.Resource)
	if u.Cost > 1 {
		b.lines = fastjson.AppendIntMember(b.lines, `,"cost":`, u.Cost)
	}
	if len(u.Windows) > 0 {
		b.lines = fastjson.AppendInts(append(b.lines, `,"windows":`...), u.Windows)
	}
	b.lines = fastjson.AppendOptionalMember(b.lines, `,"plan":`, u.Plan)
	b.lines = fastjson.AppendOptionalMember(b.lines, `,"owner":`, u.Owner)
	if u.Count > 1 {
		b.sum(u.Count, u.First)
		b.texts(`,"addresses":`, u.Addresses)
		b.texts(`,"resources":`, u.Resources)
	}
	return b.end(before)
}

// AddRefused is Add for presented secrets that belong to no key; org is the asker's.
func (b *UseBatch) AddRefused(org domain.OrgID, c *domain.CredentialsRefused, decided Position) bool {
	before := len(b.lines)
	b.begin(org, "", "", domain.UseNotFound, c.To, decided)
	b.lines = fastjson.AppendOptionalMember(b.lines, `,"by":`, c.Principal)
	b.sum(c.Count, c.From)
	return b.end(before)
}

func (b *UseBatch) begin(org domain.OrgID, kind, id string, code domain.Outcome, at time.Time, decided Position) {
	b.lines = append(append(append(b.lines, `{"org":"`...), org...), '"')
	if id != "" {
		b.lines = append(append(b.lines, `,"kind":"`...), kind...)
		b.lines = append(append(append(b.lines, `","id":"`...), id...), '"')
	}
	b.lines = append(append(append(b.lines, `,"code":"`...), code...), '"')
	b.lines = fastjson.AppendIntMember(b.lines, `,"time":`, at.UnixMilli())
	if b.n == 0 {
		b.decided = decided
	} else if decided != b.decided {
		b.lines = fastjson.AppendIntMember(b.lines, `,"position":`, int64(decided))
	}
}

// sum appends what only a line that stands for several uses has.
func (b *UseBatch) sum(count int64, first time.Time) {
	b.lines = fastjson.AppendIntMember(b.lines, `,"count":`, count)
	b.lines = fastjson.AppendIntMember(b.lines, `,"first":`, first.UnixMilli())
}

// texts appends a member that is left out if it is empty.
func (b *UseBatch) texts(name string, list []string) {
	if len(list) > 0 {
		b.lines = fastjson.AppendStrings(append(b.lines, name...), list)
	}
}

func (b *UseBatch) end(before int) bool {
	b.lines = append(b.lines, "}\n"...)
	if len(b.lines) > maxBatchBytes && b.n > 0 {
		b.lines = b.lines[:before]
		return false
	}
	b.n++
	return true
}

// AppendUses writes b as one message. Repeated with the same batch it is the same message,
// which is written once if it is repeated within the stream's duplicate window.
func (l *Ledger) AppendUses(ctx context.Context, b *UseBatch) (Position, error) {
	if b.message == nil {
		b.message = usesMessage(l.node, b)
	}
	return l.publish(ctx, Uses, b.message)
}

// Headers of a message of uses, beside the message's id: its encoding, and the seed of the salts
// with which proofs of single uses are made. As with an event's private facts, readers of the
// trail are not shown it.
const (
	headerEncoding = "Content-Encoding"
	encodingZstd   = "zstd"
)

func usesMessage(node string, b *UseBatch) *nats.Msg {
	m := nats.NewMsg(Uses.root())
	buffer := bodies.Get().(*[]byte)
	*buffer = b.appendBody((*buffer)[:0], node)
	m.Data = compress(*buffer)
	bodies.Put(buffer)
	m.Header[headerEncoding] = []string{encodingZstd}
	m.Header[headerPrivate] = []string{newSeed()}
	m.Header[jetstream.MsgIDHeader] = []string{nuid.Next()}
	return m
}

// newSeed is 128 random bits.
func newSeed() string {
	var seed [16]byte
	_, _ = rand.Read(seed[:]) // it never fails
	return base64.RawURLEncoding.EncodeToString(seed[:])
}

// appendBody appends the head and the uses.
func (b *UseBatch) appendBody(body []byte, node string) []byte {
	body = fastjson.AppendMember(body, `{"node":`, node)
	body = fastjson.AppendIntMember(body, `,"position":`, int64(b.decided))
	body = append(body, "}\n"...)
	return append(body, b.lines...)
}

// The kinds of principals: what was used is a key, or a session.
const (
	kindKey     = "key"
	kindSession = "session"
)

func kindOf(id domain.KeyID) string {
	if id.IsSession() {
		return kindSession
	}
	return kindKey
}

// A useHead is the first line of a message.
type useHead struct {
	Node     string   `json:"node"`
	Position Position `json:"position"`
}

// A useLine is one of the others.
type useLine struct {
	Org       domain.OrgID   `json:"org"`
	Kind      string         `json:"kind,omitempty"`
	ID        string         `json:"id,omitempty"`
	Code      domain.Outcome `json:"code"`
	Time      int64          `json:"time"`
	Position  int64          `json:"position,omitempty"`
	Scopes    []string       `json:"scopes,omitempty"`
	IP        string         `json:"ip,omitempty"`
	By        string         `json:"by,omitempty"`
	RequestID string         `json:"request_id,omitempty"`
	Resource  string         `json:"resource,omitempty"`
	Cost      int64          `json:"cost,omitempty"`
	Windows   []int64        `json:"windows,omitempty"`
	Plan      string         `json:"plan,omitempty"`
	Owner     string         `json:"owner,omitempty"`
	Count     int64          `json:"count,omitempty"`
	First     int64          `json:"first,omitempty"`
	Addresses []string       `json:"addresses,omitempty"`
	Resources []string       `json:"resources,omitempty"`
}

// bodies are buffers for bodies before they are compressed and after.
var bodies = sync.Pool{New: func() any { return new([]byte) }}

// A wantsUse chooses a use by its place, and by its organization, id and outcome: no more of its line
// has been read.
type wantsUse func(message Position, index int, u *useLine) bool

// appendUses adds the uses of a message that wants takes to records; nil: all.
func appendUses(records []Record, m *Raw, wants wantsUse) ([]Record, error) {
	body, err := readBody(m)
	if err == nil {
		records, err = appendLines(records, m, body, wants)
	}
	if err != nil {
		return records, fmt.Errorf("uses position %d: %w", m.Position, err)
	}
	return records, nil
}

// readBody is the lines of a message of uses.
func readBody(m *Raw) (string, error) {
	if encoding := header(m.Header, headerEncoding); encoding != encodingZstd {
		return "", fmt.Errorf("its encoding is %q and not %s: written by a newer version?", encoding, encodingZstd)
	}
	buffer := bodies.Get().(*[]byte)
	defer bodies.Put(buffer)
	var err error
	*buffer, err = decompress((*buffer)[:0], m.Data)
	return string(*buffer), err
}

func appendLines(records []Record, m *Raw, body string, wants wantsUse) ([]Record, error) {
	line, body, _ := strings.Cut(body, "\n")
	head, err := readHead(line)
	if err != nil {
		return records, err
	}
	base := Record{Stream: Uses, Position: m.Position, ID: header(m.Header, jetstream.MsgIDHeader), Stored: m.Stored, Node: head.Node}
	var u useLine
	for ; body != ""; base.Index++ {
		line, body, _ = strings.Cut(body, "\n")
		wanted, err := u.read(line, &base, wants)
		if err != nil {
			return records, err
		}
		if !wanted {
			continue
		}
		r := base
		if err := u.record(&r, head.Position); err != nil {
			return records, err
		}
		records = append(records, r)
	}
	return records, nil
}

func readHead(line string) (h useHead, err error) {
	s := fastjson.NewScanner(line)
	var position int64
	if s.Member(`{"node":`, &h.Node) && s.Literal(`,"position":`) && s.Int(&position) && s.Literal("}") && s.End() {
		h.Position = Position(position)
		return h, nil
	}
	return h, json.Unmarshal([]byte(line), &h)
}

// read reads the line of a use, or as much of it as shows that it is not wanted.
func (u *useLine) read(line string, of *Record, wants wantsUse) (wanted bool, err error) {
	*u = useLine{}
	s := fastjson.NewScanner(line)
	if u.scanHead(&s) {
		if wants != nil && !wants(of.Position, of.Index, u) {
			return false, nil
		}
		if u.scanRest(&s) && s.End() {
			return true, nil
		}
	}
	// Not the spelling that UseBatch writes, or text with escapes: a careful reader takes over.
	*u = useLine{}
	if err := json.Unmarshal([]byte(line), u); err != nil {
		return false, err
	}
	return wants == nil || wants(of.Position, of.Index, u), nil
}

func (u *useLine) scanHead(s *fastjson.Scanner) bool {
	return s.Member(`{"org":`, (*string)(&u.Org)) &&
		s.OptionalMember(`,"kind":`, &u.Kind) &&
		s.OptionalMember(`,"id":`, &u.ID) &&
		s.Member(`,"code":`, (*string)(&u.Code))
}

func (u *useLine) scanRest(s *fastjson.Scanner) bool {
	return s.Literal(`,"time":`) && s.Int(&u.Time) &&
		(!s.Literal(`,"position":`) || s.Int(&u.Position)) &&
		(!s.Literal(`,"scopes":`) || s.Strings(&u.Scopes)) &&
		s.OptionalMember(`,"ip":`, &u.IP) &&
		s.OptionalMember(`,"by":`, &u.By) &&
		s.OptionalMember(`,"request_id":`, &u.RequestID) &&
		s.OptionalMember(`,"resource":`, &u.Resource) &&
		(!s.Literal(`,"cost":`) || s.Int(&u.Cost)) &&
		(!s.Literal(`,"windows":`) || s.Ints(&u.Windows)) &&
		s.OptionalMember(`,"plan":`, &u.Plan) &&
		s.OptionalMember(`,"owner":`, &u.Owner) &&
		(!s.Literal(`,"count":`) || s.Int(&u.Count)) &&
		(!s.Literal(`,"first":`) || s.Int(&u.First)) &&
		(!s.Literal(`,"addresses":`) || s.Strings(&u.Addresses)) &&
		(!s.Literal(`,"resources":`) || s.Strings(&u.Resources)) &&
		s.Literal("}")
}

// record puts the use into r, which has what the message says of it; decided is the position
// of the message's head.
func (u *useLine) record(r *Record, decided Position) error {
	r.Org, r.Subject, r.Time, r.Decided = u.Org, u.ID, time.UnixMilli(u.Time).UTC(), decided
	if u.Position != 0 {
		r.Decided = Position(u.Position)
	}
	r.Actor, r.Correlation = u.By, u.RequestID
	var first time.Time
	if u.Count > 1 || u.Kind == "" {
		first = time.UnixMilli(u.First).UTC()
	}
	if u.Org == "" || u.Code == "" {
		return fmt.Errorf("use %d has no organization or no outcome", r.Index)
	}
	switch u.Kind {
	case kindKey, kindSession:
		r.Type, r.Event = typeUsed, domain.KeyUsed{Key: domain.KeyID(u.ID), Code: u.Code, Scopes: u.Scopes, IP: u.IP, Principal: u.By,
			RequestID: u.RequestID, Resource: u.Resource, Cost: u.Cost, Windows: u.Windows, Plan: u.Plan, Owner: u.Owner, At: r.Time, Count: u.Count, First: first, Addresses: u.Addresses, Resources: u.Resources}
	case "":
		r.Type, r.Event = typeRefused, domain.CredentialsRefused{Principal: u.By, Count: u.Count, From: first, To: r.Time}
	default:
		return fmt.Errorf("use %d is of a principal of the unknown kind %q: written by a newer version?", r.Index, u.Kind)
	}
	return nil
}

var typeUsed, typeRefused = domain.TypeOf(domain.KeyUsed{}), domain.TypeOf(domain.CredentialsRefused{})
