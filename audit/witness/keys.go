package witness

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode"

	formats "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/keytrail/keytrail/internal/secretfile"
)

// Keys are what a witness signs with: Ed25519, which every verifier knows, and ML-DSA-44, which
// holds out against quantum computers.
type Keys struct {
	VerifierKeys []string // as policies have them
	signers      []note.Signer
}

// CreateKeys writes the keys of a new witness to a file that its owner alone can read. The name is
// the witness's, like witness.example.com/1.
func CreateKeys(path, name string) error {
	if strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || r == '+' }) {
		return fmt.Errorf("the witness's name %q: it must have no space and no +", name)
	}
	ed, edPublic, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return fmt.Errorf("the witness's name %q: %w", name, err)
	}
	if edPublic, err = formats.VKeyToCosignatureV1(edPublic); err != nil {
		return err
	}
	pq, pqPublic, err := formats.GenerateMLDSAKey(name)
	if err != nil {
		return err
	}
	return secretfile.Create(path, strings.Join([]string{ed, edPublic, pq, pqPublic}, "\n")+"\n")
}

// ReadKeys reads what CreateKeys wrote: a secret key and its verifier key, twice.
func ReadKeys(path string) (k Keys, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return k, err
	}
	for _, line := range strings.Fields(string(text)) {
		if !strings.HasPrefix(line, "PRIVATE+KEY+") {
			k.VerifierKeys = append(k.VerifierKeys, line)
			continue
		}
		s, err := formats.NewSignerForCosignatureV1(line)
		if err != nil {
			return k, errors.New(path + " holds a key that cannot be read")
		}
		k.signers = append(k.signers, s)
	}
	if len(k.signers) == 0 || len(k.signers) != len(k.VerifierKeys) {
		return k, errors.New(path + " holds no witness's keys")
	}
	return k, nil
}
