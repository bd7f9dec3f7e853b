package password

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// params are what argon2id costs.
type params struct {
	memory  uint32 // KiB
	time    uint32 // passes over it
	threads uint8
}

// current is what new hashes are made with: the minimum that OWASP recommends for argon2id in its
// Password Storage Cheat Sheet, 19 MiB, two passes, one thread. More memory a hash would be more
// memory for everyone who sends a password, right or wrong.
var current = params{memory: 19 << 10, time: 2, threads: 1}

// The sizes of what is made, in bytes: those that RFC 9106 recommends.
const (
	saltSize = 16
	sumSize  = 32
)

// The bounds of what is checked: a hash of other parameters than ours, that an older or a newer
// version made, must not take memory or time without end.
const (
	maxMemory  = 64 << 10 // KiB
	maxTime    = 10
	maxThreads = 4
	maxText    = 256 // bytes of the PHC string
)

// errMalformed says nothing of the text, which must not be in a log.
var errMalformed = errors.New("not the PHC string of an argon2id hash within bounds")

// A hash is the digest of a password with all that is needed to make it again.
type hash struct {
	params
	salt, sum []byte
}

// newHash hashes a normal password under a fresh salt.
func newHash(normal string) hash {
	h := hash{params: current, salt: make([]byte, saltSize)}
	_, _ = rand.Read(h.salt) // it ends the program if it fails
	h.sum = h.sumOf(normal, sumSize)
	return h
}

func (h hash) sumOf(normal string, size int) []byte {
	return argon2.IDKey([]byte(normal), h.salt, h.time, h.memory, h.threads, uint32(size))
}

// matches compares in constant time.
func (h hash) matches(normal string) bool {
	return subtle.ConstantTimeCompare(h.sumOf(normal, len(h.sum)), h.sum) == 1
}

// dummy is compared with where there is no hash: it takes as long as a current one.
var dummy = hash{params: current, salt: make([]byte, saltSize), sum: make([]byte, sumSize)}

const phcFormat = "$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s"

// String is the hash as a PHC string.
func (h hash) String() string {
	return fmt.Sprintf(phcFormat, h.memory, h.time, h.threads, b64.EncodeToString(h.salt), b64.EncodeToString(h.sum))
}

// b64 is base64 as PHC strings have it: without padding, and one spelling for each value.
var b64 = base64.RawStdEncoding.Strict()

// parse reads what String wrote; errMalformed if it cannot have.
func parse(phc string) (h hash, err error) {
	if len(phc) > maxText {
		return hash{}, errMalformed
	}
	fields := strings.Split(phc, "$")
	if len(fields) != 6 {
		return hash{}, errMalformed
	}
	if h.params, err = parseParams(fields[3]); err != nil {
		return hash{}, err
	}
	var failed [2]error
	h.salt, failed[0] = b64.DecodeString(fields[4])
	h.sum, failed[1] = b64.DecodeString(fields[5])
	// The spelling is ours, to the letter: whatever else the six fields might say is refused here.
	if errors.Join(failed[:]...) != nil || len(h.salt) < 8 || len(h.sum) < 16 || h.String() != phc {
		return hash{}, errMalformed
	}
	return h, nil
}

// parseParams reads m=19456,t=2,p=1.
func parseParams(text string) (p params, err error) {
	fields := strings.Split(text, ",")
	if len(fields) != 3 {
		return params{}, errMalformed
	}
	var n [3]uint64
	for i, name := range [...]string{"m=", "t=", "p="} {
		value, found := strings.CutPrefix(fields[i], name)
		n[i], err = strconv.ParseUint(value, 10, 32)
		if !found || err != nil {
			return params{}, errMalformed
		}
	}
	// RFC 9106 has at least 8 KiB a thread.
	if n[2] < 1 || n[2] > maxThreads || n[1] < 1 || n[1] > maxTime || n[0] < 8*n[2] || n[0] > maxMemory {
		return params{}, errMalformed
	}
	return params{uint32(n[0]), uint32(n[1]), uint8(n[2])}, nil
}

// NeedsRehash tells whether a hash was made with other parameters than new ones are: the next
// time that its password is known, it should be made again.
func NeedsRehash(phc string) bool {
	h, err := parse(phc)
	return err != nil || h.params != current || len(h.sum) != sumSize
}
