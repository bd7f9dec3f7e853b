// Package keyring is the one master secret of an installation, in a file that never leaves
// it. What the service needs besides (keys for ids, signatures and sealed values)
// is derived from it by name, so that there is one file to keep.
package keyring

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"github.com/keytrail/keytrail/internal/secretfile"
)

// The names that keys are derived by. A name is never changed or used for something else.
const (
	ImportIDs = "import-ids" // the ids of imported keys
	Tokens    = "tokens"     // signs derived tokens
	Sessions  = "sessions"   // signs the tokens of sessions
	DataKeys  = "data-keys"  // seals the data keys of recoverable secrets
	Sinks     = "sinks"      // seals the credentials of sinks

	SSO     = "sso"      // seals the client secrets of single sign-on
	SSOFlow = "sso-flow" // seals log-ins that are under way

	Checkpoints = "checkpoints" // signs the checkpoints of the Merkle logs

	LogIns = "log-ins" // hashes e-mail addresses that were tried at log-in and that no user has

	fingerprint = "fingerprint"
)

// A Keyring holds the master secret, and prints as [keyring].
type Keyring struct{ master [32]byte }

// New makes a keyring of fresh randomness.
func New() *Keyring {
	k := new(Keyring)
	_, _ = rand.Read(k.master[:]) // it ends the program if it fails
	return k
}

// filePrefix begins the file's one line, so that scanners for leaked secrets can find it.
const filePrefix = "kt_keyring_1_"

// Load reads the file that Create wrote; fs.ErrNotExist if there is none.
func Load(path string) (*Keyring, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	k := new(Keyring)
	secret, ok := strings.CutPrefix(strings.TrimSpace(string(text)), filePrefix)
	if n, err := hex.Decode(k.master[:], []byte(secret[:min(len(secret), 2*len(k.master)+1)])); !ok || err != nil || n != len(k.master) {
		return nil, fmt.Errorf("%s is not a keyring: it has one line, %s and 64 hex characters", path, filePrefix)
	}
	return k, nil
}

// Create writes the keyring to a new file; fs.ErrExist if there is one.
func (k *Keyring) Create(path string) error {
	return secretfile.Create(path, filePrefix+hex.EncodeToString(k.master[:])+"\n")
}

// Derive is the key for a purpose. It tells nothing of the master secret or of other keys.
func (k *Keyring) Derive(purpose string) [32]byte {
	key, err := hkdf.Key(sha256.New, k.master[:], nil, "keytrail "+purpose, 32)
	if err != nil {
		panic(err) // only a longer key than SHA-256 can give is refused
	}
	return [32]byte(key)
}

// Fingerprint names the keyring; it is no secret.
func (k *Keyring) Fingerprint() string {
	key := k.Derive(fingerprint)
	return hex.EncodeToString(key[:10])
}

// Format makes every fmt verb print [keyring].
func (Keyring) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[keyring]")) }
