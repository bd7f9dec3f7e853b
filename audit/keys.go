package audit

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"

	"filippo.io/mldsa"
	formats "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/keytrail/keytrail/eventstore"
)

// Keys are what the keys that sign checkpoints are derived from; they print as [keys].
type Keys struct{ master [32]byte }

// NewKeys derives from a secret that is used for nothing else.
func NewKeys(master [32]byte) Keys { return Keys{master} }

// Format makes every fmt verb print [keys].
func (Keys) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[keys]")) }

// The algorithms of signed notes (c2sp.org/signed-note). The second holds out against quantum
// computers; public witnesses demand the first.
const (
	algorithmEd25519 = 1
	algorithmMLDSA44 = 6
)

// algorithms have the names that keys are derived by, which never change.
var algorithms = []struct {
	id     byte
	name   string
	public func(seed []byte) ([]byte, error)
}{
	{algorithmEd25519, "ed25519", func(seed []byte) ([]byte, error) {
		return ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey), nil
	}},
	{algorithmMLDSA44, "ml-dsa-44", func(seed []byte) ([]byte, error) {
		key, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), seed)
		if err != nil {
			return nil, err
		}
		return key.PublicKey().Bytes(), nil
	}},
}

// seed is the secret key of an algorithm: of one origin and generation alone.
func (k Keys) seed(algorithm, origin string, generation int) []byte {
	seed, err := hkdf.Key(sha256.New, k.master[:], nil, fmt.Sprintf("%s %s %d", algorithm, origin, generation), 32)
	if err != nil {
		panic(err) // only a longer key than SHA-256 can give is refused
	}
	return seed
}

// Verifiers are the verifier keys of a generation, by stream, as signed notes have them.
func (k Keys) Verifiers(origin string, generation int) (map[string][]string, error) {
	all := map[string][]string{}
	for _, s := range eventstore.Streams {
		name := origin + "/" + s.String()
		for _, a := range algorithms {
			public, err := a.public(k.seed(a.name, name, generation))
			if err != nil {
				return nil, err
			}
			all[s.String()] = append(all[s.String()], encodeKey(name, keyID(name, a.id, public), a.id, public))
		}
	}
	return all, nil
}

// signers sign with the keys of a generation, under the origin as their name.
func (k Keys) signers(origin string, generation int) (signers []note.Signer, err error) {
	for _, a := range algorithms {
		seed := k.seed(a.name, origin, generation)
		public, err := a.public(seed)
		if err != nil {
			return nil, err
		}
		var signer note.Signer
		switch secret := "PRIVATE+KEY+" + encodeKey(origin, keyID(origin, a.id, public), a.id, seed); a.id {
		case algorithmEd25519:
			signer, err = note.NewSigner(secret)
		default:
			signer, err = formats.NewMLDSASigner(secret)
		}
		if err != nil {
			return nil, err
		}
		signers = append(signers, signer)
	}
	return signers, nil
}

func encodeKey(name string, id uint32, algorithm byte, key []byte) string {
	return fmt.Sprintf("%s+%08x+%s", name, id, base64.StdEncoding.EncodeToString(append([]byte{algorithm}, key...)))
}

// keyID is what signatures name a key by.
func keyID(name string, algorithm byte, public []byte) uint32 {
	hash := sha256.Sum256(append(append([]byte(name), '\n', algorithm), public...))
	return binary.BigEndian.Uint32(hash[:])
}

// NewVerifier reads a verifier key of either algorithm. The libraries do not all compare the key's
// id with the key.
func NewVerifier(vkey string) (note.Verifier, error) {
	name, rest, _ := strings.Cut(vkey, "+")
	id, text, _ := strings.Cut(rest, "+")
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) < 2 || id != fmt.Sprintf("%08x", keyID(name, key[0], key[1:])) {
		return nil, fmt.Errorf("%.100q is no verifier key", vkey)
	}
	switch key[0] {
	case algorithmEd25519:
		return note.NewVerifier(vkey)
	case algorithmMLDSA44:
		return formats.NewMLDSAVerifier(vkey)
	}
	return nil, fmt.Errorf("the verifier key of %s is of the unknown algorithm %d", name, key[0])
}

// Verifiers read several verifier keys.
func Verifiers(vkeys []string) (verifiers []note.Verifier, err error) {
	for _, text := range vkeys {
		v, err := NewVerifier(text)
		if err != nil {
			return nil, err
		}
		verifiers = append(verifiers, v)
	}
	return verifiers, nil
}
