package eventstore

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	gohash "hash"
	"strconv"
	"strings"
)

// A UseTree is the Merkle tree (RFC 6962) over the uses of one message. Its leaf number i is the
// salt of the use and its line: so each use is proved by itself, and its proof shows nothing
// of the uses beside it, not even whether a guess at them is right.
type UseTree struct {
	Head  string   // the message's first line
	Lines []string // one for each use

	seed   string
	levels [][]Hash // from the leaves' up to the root's; none if there are no uses
}

// SaltLength is the number of bytes of a use's salt.
const SaltLength = 16

// NewUseTree reads a message of uses.
func NewUseTree(m *Raw) (*UseTree, error) {
	seed := header(m.Header, headerPrivate)
	if seed == "" {
		return nil, fmt.Errorf("uses position %d: %w", m.Position, errPrivateMissing)
	}
	body, err := readBody(m)
	if err != nil {
		return nil, fmt.Errorf("uses position %d: %w", m.Position, err)
	}
	head, rest, _ := strings.Cut(body, "\n")
	t := &UseTree{Head: head, seed: seed}
	if rest != "" {
		t.Lines = strings.Split(strings.TrimSuffix(rest, "\n"), "\n")
	}
	t.makeLevels()
	return t, nil
}

// makeLevels hashes the uses, and all above them. A hash without a neighbour goes up as it is.
func (t *UseTree) makeLevels() {
	if len(t.Lines) == 0 {
		return
	}
	level, salts := make([]Hash, len(t.Lines)), newSalter(t.seed)
	for i, line := range t.Lines {
		level[i] = HashUse(salts.at(i), line)
	}
	t.levels = [][]Hash{level}
	for len(level) > 1 {
		above := make([]Hash, 0, (len(level)+1)/2)
		for i := 0; i+1 < len(level); i += 2 {
			above = append(above, hashNode(level[i], level[i+1]))
		}
		if len(level)%2 == 1 {
			above = append(above, level[len(level)-1])
		}
		t.levels, level = append(t.levels, above), above
	}
}

// HashUse is the hash of a use in the tree of its message.
func HashUse(salt [SaltLength]byte, line string) Hash {
	return hashLeaf(func(b []byte) []byte { return append(append(b, salt[:]...), line...) })
}

// A salter makes the salts of one message's uses, without an allocation for each.
type salter struct {
	mac    gohash.Hash
	buffer []byte
}

func newSalter(seed string) salter {
	return salter{hmac.New(sha256.New, []byte(seed)), make([]byte, 0, sha256.Size)}
}

func (s salter) at(index int) [SaltLength]byte {
	s.mac.Reset()
	s.mac.Write(strconv.AppendInt(s.buffer, int64(index), 10))
	return [SaltLength]byte(s.mac.Sum(s.buffer))
}

// Salt is that of the use number i.
func (t *UseTree) Salt(i int) [SaltLength]byte {
	return newSalter(t.seed).at(i)
}

// Root is the tree's: SHA-256 of nothing if there are no uses.
func (t *UseTree) Root() Hash {
	if len(t.levels) == 0 {
		return sha256.Sum256(nil)
	}
	return t.levels[len(t.levels)-1][0]
}

// Proof is the inclusion proof of the use number i, from the leaf up.
func (t *UseTree) Proof(i int) (proof []Hash) {
	for _, level := range t.levels[:len(t.levels)-1] {
		if neighbour := i ^ 1; neighbour < len(level) {
			proof = append(proof, level[neighbour])
		}
		i /= 2
	}
	return proof
}
