// Package githubscan checks that a report comes from GitHub's secret scanning, whose partner programme
// signs the body of each with ECDSA P-256 and publishes the keys.
package githubscan

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// ErrSignature is a body that was not signed by a key of GitHub's.
var ErrSignature = errors.New("it is not signed by a key of GitHub's secret scanning")

const (
	fetchTimeout = 5 * time.Second // a request waits for it
	maxKeys      = 1 << 20         // bytes of the list
	keptFor      = 24 * time.Hour  // a key that is taken from the list is refused after that
)

// fetchEvery is how often the list is fetched at most: anyone can name a key that there is not. Tests
// lower it.
var fetchEvery = time.Minute

// Keys are the public keys of GitHub's secret scanning. It is safe for concurrent use.
type Keys struct {
	source string
	client *http.Client

	mu      sync.Mutex // held while they are fetched: a request that needs a key waits for that
	known   map[string]*ecdsa.PublicKey
	fetched time.Time // when they were, zero: never
	tried   time.Time
	failure error // of the last try
}

// New are the keys that a URL or a file has, in the form of https://api.github.com/meta/public_keys/secret_scanning.
// They are read when they are needed first.
func New(source string) (*Keys, error) {
	if strings.HasPrefix(source, "http:") {
		return nil, fmt.Errorf("%s: keys must come over https, or from a file", source)
	}
	return &Keys{source: source, client: &http.Client{Timeout: fetchTimeout}}, nil
}

// Check refuses a body without a signature by the key of that name: ErrSignature, or what kept the keys
// from being read.
func (k *Keys) Check(ctx context.Context, name, signature string, body []byte) error {
	sig, err := base64.StdEncoding.DecodeString(signature)
	if err != nil || name == "" {
		return ErrSignature
	}
	key, err := k.find(ctx, name)
	if err != nil {
		return err
	}
	digest := sha256.Sum256(body)
	if key == nil || !ecdsa.VerifyASN1(key, digest[:], sig) {
		return ErrSignature
	}
	return nil
}

// find is the key of that name, nil if there is none. Keys that are old, and one that is not known, are
// looked for in the source; while that cannot be read, the keys that are known go on.
func (k *Keys) find(ctx context.Context, name string) (*ecdsa.PublicKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	if (k.known[name] == nil || now.Sub(k.fetched) >= keptFor) && now.Sub(k.tried) >= fetchEvery {
		k.refresh(ctx, now)
	}
	key := k.known[name]
	if key == nil && k.failure != nil {
		return nil, fmt.Errorf("read GitHub's keys: %w", k.failure)
	}
	return key, nil
}

// refresh takes the keys from the source, whether or not the request that needs them is still
// there: anyone who asks and leaves at once would otherwise keep them from all others.
func (k *Keys) refresh(ctx context.Context, now time.Time) {
	k.tried = now
	known, err := k.fetch(context.WithoutCancel(ctx))
	if k.failure = err; err == nil {
		k.known, k.fetched = known, now
	}
}

func (k *Keys) fetch(ctx context.Context) (map[string]*ecdsa.PublicKey, error) {
	text, err := k.read(ctx)
	if err != nil {
		return nil, err
	}
	var list struct {
		Keys []struct {
			Name string `json:"key_identifier"`
			PEM  string `json:"key"`
		} `json:"public_keys"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, err
	}
	known := map[string]*ecdsa.PublicKey{}
	for _, l := range list.Keys {
		block, _ := pem.Decode([]byte(l.PEM))
		if block == nil {
			continue
		}
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if key, ok := public.(*ecdsa.PublicKey); ok && err == nil && key.Curve == elliptic.P256() {
			known[l.Name] = key
		}
	}
	return known, nil
}

func (k *Keys) read(ctx context.Context) ([]byte, error) {
	if !strings.HasPrefix(k.source, "https:") {
		return os.ReadFile(k.source)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, k.source, nil)
	if err != nil {
		return nil, err
	}
	a, err := k.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", k.source, a.Status)
	}
	return io.ReadAll(io.LimitReader(a.Body, maxKeys))
}
