package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/fastjson"
)

// The kinds of lines after the manifest, by what they begin with.
const (
	beginsSection = `{"log":`
	beginsSubtree = `{"subtree":`
	beginsEvent   = `{"event":`
	beginsMessage = `{"message":`
	beginsUse     = `{"use":`
	beginsEnd     = `{"end":`
)

// A payload is what was logged, byte for byte: the last member of its line. It comes as it is if
// it is a JSON object, and in base64, as a string, if it is not.
const (
	bodyMember = `,"body":`
	headMember = `,"head":`
	useMember  = `,"line":`
)

// A section is the beginning of what a bundle has of one log.
type section struct {
	Log string `json:"log"`
}

// A subtree is the hashes of the parts of a subtree of a log, each of 2^Level leaves but for the
// last one. It comes before what is in the subtree, so that whatever follows is compared with
// hashes that lead up to the signed root.
type subtree struct {
	Start, End uint64 // leaves: the first one, and the one after the last
	Level      int
	Hashes     []hash
}

func (s *subtree) append(b []byte) []byte {
	b = fastjson.AppendInts(append(b, beginsSubtree...), []int64{int64(s.Start), int64(s.End)})
	b = fastjson.AppendIntMember(b, `,"level":`, int64(s.Level))
	b = append(b, `,"hashes":[`...)
	for i, h := range s.Hashes {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(base64.StdEncoding.AppendEncode(append(b, '"'), h[:]), '"')
	}
	return append(b, "]}"...)
}

func (s *subtree) read(line []byte) error {
	scan := fastjson.NewScanner(string(line))
	var between []int64
	var level int64
	var texts []string
	if !scan.Literal(beginsSubtree) || !scan.Ints(&between) || !scan.Literal(`,"level":`) || !scan.Int(&level) || !scan.Literal(`,"hashes":`) ||
		!scan.Strings(&texts) || len(between) != 2 {
		return errLine
	}
	s.Start, s.End, s.Level, s.Hashes = uint64(between[0]), uint64(between[1]), int(level), make([]hash, len(texts))
	for i, text := range texts {
		if err := s.Hashes[i].UnmarshalText([]byte(text)); err != nil {
			return err
		}
	}
	return nil
}

// A hash is base64 in JSON.
type hash eventstore.Hash

func (h hash) MarshalText() ([]byte, error) { return base64.StdEncoding.AppendEncode(nil, h[:]), nil }

var errHash = errors.New("a hash is 32 bytes in base64")

func (h *hash) UnmarshalText(text []byte) error {
	var b [sha256.Size + 2]byte // what 44 characters can hold
	if base64.StdEncoding.DecodedLen(len(text)) > len(b) {
		return errHash
	}
	n, err := base64.StdEncoding.Decode(b[:], text)
	if err != nil || n != len(h) {
		return errHash
	}
	copy(h[:], b[:n])
	return nil
}

// An event is a message of the events stream.
type event struct {
	Position eventstore.Position
	ID       string
	Subject  string
	Body     []byte
}

func (e *event) append(b []byte) []byte {
	b = fastjson.AppendIntMember(b, beginsEvent, int64(e.Position))
	b = fastjson.AppendMember(b, `,"id":`, e.ID)
	b = fastjson.AppendMember(b, `,"subject":`, e.Subject)
	return appendPayload(b, bodyMember, e.Body)
}

func (e *event) read(line []byte) error {
	head, body, err := cutPayload(line, bodyMember)
	if err != nil {
		return err
	}
	e.Body = body
	var p int64
	s := fastjson.NewScanner(head)
	if s.Literal(beginsEvent) && s.Int(&p) && s.Member(`,"id":`, &e.ID) && s.Member(`,"subject":`, &e.Subject) && s.Literal("}") && s.End() {
		e.Position = eventstore.Position(p)
		return nil
	}
	var slow struct {
		Event       eventstore.Position
		ID, Subject string
	}
	err = json.Unmarshal([]byte(head), &slow)
	e.Position, e.ID, e.Subject = slow.Event, slow.ID, slow.Subject
	return err
}

// A message is one of the uses stream, without its uses: what its leaf has. They come after it.
type message struct {
	Position eventstore.Position `json:"message"`
	ID       string              `json:"id"`
	Subject  string              `json:"subject"`
	Count    int                 `json:"count"`
	Root     hash                `json:"root"` // of the tree of its uses
	Head     []byte              `json:"-"`
}

func (m *message) append(b []byte) []byte {
	text, _ := json.Marshal(m) // it cannot fail
	return appendPayload(append(b, text[:len(text)-1]...), headMember, m.Head)
}

func (m *message) read(line []byte) error {
	head, payload, err := cutPayload(line, headMember)
	if err != nil {
		return err
	}
	m.Head = payload
	return json.Unmarshal([]byte(head), m)
}

// A use is one of a message. It has a path in the tree of the message's uses if they are not all
// in the bundle.
type use struct {
	Identity string // position.index
	Salt     [eventstore.SaltLength]byte
	Path     []hash
	Line     []byte
}

func (u *use) append(b []byte) []byte {
	b = fastjson.AppendMember(b, beginsUse, u.Identity)
	b = append(b, `,"salt":"`...)
	b = append(base64.StdEncoding.AppendEncode(b, u.Salt[:]), '"')
	if len(u.Path) > 0 {
		path, _ := json.Marshal(u.Path) // it cannot fail
		b = append(append(b, `,"path":`...), path...)
	}
	return appendPayload(b, useMember, u.Line)
}

func (u *use) read(line []byte) error {
	head, payload, err := cutPayload(line, useMember)
	if err != nil {
		return err
	}
	u.Line, u.Path = payload, nil
	var salt string
	s := fastjson.NewScanner(head)
	if !s.Literal(beginsUse) || !s.String(&u.Identity) || !s.Member(`,"salt":`, &salt) {
		return errLine
	}
	if s.Literal(",") { // a use has a path in a bundle of an organization alone
		var slow struct{ Path []hash }
		if err := json.Unmarshal([]byte(head), &slow); err != nil {
			return err
		}
		u.Path = slow.Path
	}
	return u.readSalt(salt)
}

func (u *use) readSalt(text string) error {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) != len(u.Salt) {
		return errLine
	}
	copy(u.Salt[:], b)
	return nil
}

// identity is that of the use number i of the message at p.
func identity(p eventstore.Position, i int) string {
	return strconv.FormatUint(uint64(p), 10) + "." + strconv.Itoa(i)
}

// The end is the last line: what a bundle holds. A file without it was cut off.
type end struct {
	End Counts `json:"end"`
}

// Counts are what a bundle holds.
type Counts struct {
	Events   uint64 `json:"events"`
	Messages uint64 `json:"messages"` // of uses
	Uses     uint64 `json:"uses"`
}

func (c Counts) String() string {
	return fmt.Sprintf("%d events, %d uses in %d messages", c.Events, c.Uses, c.Messages)
}

var errLine = errors.New("the line is not one of a bundle")

// cutPayload takes the last member off a line. The head is given as a JSON object.
func cutPayload(line []byte, member string) (head string, payload []byte, err error) {
	before, after, ok := bytes.Cut(line, []byte(member))
	if !ok || len(after) < len(`{}}`) || after[len(after)-1] != '}' {
		return "", nil, errLine
	}
	payload = after[:len(after)-1]
	if payload[0] != '"' {
		return string(before) + "}", payload, nil
	}
	payload, err = base64.StdEncoding.AppendDecode(nil, bytes.Trim(payload, `"`))
	return string(before) + "}", payload, err
}

// appendPayload ends a line with its last member.
func appendPayload(b []byte, member string, payload []byte) []byte {
	b = append(b, member...)
	if plainObject(payload) {
		b = append(b, payload...)
	} else {
		b = append(base64.StdEncoding.AppendEncode(append(b, '"'), payload), '"')
	}
	return append(b, '}')
}

// plainObject reports whether a payload can stand in a line as it is. Whether it is valid JSON is
// not looked at: what the service logs is, and what else is in a log has to be shown as well.
func plainObject(payload []byte) bool {
	return len(payload) > 1 && payload[0] == '{' && payload[len(payload)-1] == '}' && bytes.IndexByte(payload, '\n') < 0
}

// demandSpelling refuses a line that says what it says in another spelling than ours: other
// readers might take members that come twice, or space, for something else.
func demandSpelling(line, ours []byte) error {
	if !bytes.Equal(line, ours) {
		return fmt.Errorf("%w in the spelling that it has to have", errLine)
	}
	return nil
}

func readJSON(line []byte, v any) error {
	if err := json.Unmarshal(line, v); err != nil {
		return errLine
	}
	ours, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return demandSpelling(line, ours)
}
