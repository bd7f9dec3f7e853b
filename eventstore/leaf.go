package eventstore

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"
)

// Each stream has a Merkle log (RFC 6962): its leaf number n, from 0, is message n+1. A leaf is
// what docs/audit.md says that it is, so that others can compute it: this version's name, then
// fields, each after its length.
const (
	leafVersion = "keytrail-leaf-v1\n"

	// maxLeafBytes is the longest entry that a bundle of tlog-tiles can hold: its length there
	// is of 16 bits.
	maxLeafBytes = 1<<16 - 1

	// maxEventBytes leaves room in a leaf for all but an event's body.
	maxEventBytes = maxLeafBytes - 1024
)

// A Leaf is the fields of a leaf of a stream's Merkle log.
type Leaf struct {
	Stream   Stream
	Position Position
	ID       string // of the message
	Subject  string
	Body     []byte // of an event: as it is stored; of uses: UseTree.Commitment
}

// NewLeaf is the leaf of a message of s. What is in a message's headers is bound by its body:
// private facts by their hash, and the seed of a message of uses by the salts.
func NewLeaf(s Stream, m *Raw) (Leaf, error) {
	leaf := Leaf{s, m.Position, header(m.Header, jetstream.MsgIDHeader), m.Subject, m.Data}
	if s == Uses {
		tree, err := NewUseTree(m)
		if err != nil {
			return leaf, err
		}
		leaf.Body = tree.Commitment()
	}
	return leaf, nil
}

// Append appends the bytes of the leaf to b.
func (l Leaf) Append(b []byte) []byte {
	b = append(b, leafVersion...)
	b = appendField(b, l.Stream.String())
	b = appendField(b, strconv.FormatUint(uint64(l.Position), 10))
	b = appendField(b, l.ID)
	b = appendField(b, l.Subject)
	return appendField(b, l.Body)
}

func appendField[T string | []byte](b []byte, field T) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(field))), field...)
}

// A Hash is one of a Merkle tree, of SHA-256.
type Hash = [sha256.Size]byte

// The first bytes of what is hashed keep leaves and nodes apart (RFC 6962, section 2.1).
const (
	leafByte = 0
	nodeByte = 1
)

// Hash is the leaf's hash in the Merkle log.
func (l Leaf) Hash() Hash { return hashLeaf(l.Append) }

func hashLeaf(appendLeaf func([]byte) []byte) Hash {
	buffer := bodies.Get().(*[]byte)
	defer bodies.Put(buffer)
	*buffer = appendLeaf(append((*buffer)[:0], leafByte))
	return sha256.Sum256(*buffer)
}

func hashNode(left, right Hash) Hash {
	var b [1 + 2*sha256.Size]byte
	b[0] = nodeByte
	copy(b[1:], left[:])
	copy(b[1+sha256.Size:], right[:])
	return sha256.Sum256(b[:])
}

// Commitment is the body of the leaf of a message of uses.
func (t *UseTree) Commitment() []byte { return UsesCommitment(t.Head, len(t.Lines), t.Root()) }

// UsesCommitment is the body of the leaf of a message of uses: the line of its head, the number of
// its uses and the root of their tree, in lines. It shows nothing of a use.
func UsesCommitment(head string, uses int, root Hash) []byte {
	return fmt.Appendf(nil, "%s\n%d\n%s", head, uses, base64.StdEncoding.EncodeToString(root[:]))
}
