package verify

import (
	"crypto/sha256"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/token"
	"github.com/keytrail/keytrail/projections"
)

// findBySession looks up the session whose token is presented, as it is now. Its scopes are those of
// the user's role, and what the keyspace adds to that.
func (v *Verifier) findBySession(r *Request, a *Answer) (found bool, err error) {
	if v.tokens == nil || r.KeysOnly || len(r.Secret) > token.MaxSize {
		return false, nil
	}
	a.digest = digestOf(r.Secret)
	s, known := v.sessions.find(&a.digest)
	if known && s.recall(r.Keyspace, v.store.SessionsVersion(), a) {
		return true, nil
	}
	policy, taken := v.sessionPolicy(r.Keyspace)
	if !taken {
		return false, nil
	}
	keys := v.store.SessionKeys()
	if !known {
		if s, err = v.checkSession(r.Secret, keys.Generations(a.at)); err != nil {
			return false, nil
		}
	}
	signed, good := keys.Of(s.generation)
	if !good || a.Position < eventstore.Position(s.Position) { // or this node does not know of it yet
		return false, nil
	}
	c := &a.Credential
	if found, err = v.store.SessionCredential(domain.SessionID(s.ID), c); err != nil {
		return false, err
	}
	if !found {
		s.ended(c)
	}
	if c.Keyspace = r.Keyspace; policy != nil {
		c.Scopes = append(c.Scopes, policy.ScopesOf(c.Role)...)
	}
	if !signed.Until.IsZero() {
		c.ValidUntil = signed.Until.UnixMilli()
	}
	if found {
		s.remember(r.Keyspace, a)
		if !known {
			v.sessions.keep(a.digest, s)
		}
	}
	return true, nil
}

// digestOf is the digest of a token, which mostly is not copied to the heap for that.
func digestOf(text string) domain.Digest {
	var short [1 << 10]byte
	if len(text) > len(short) {
		return domain.NewSecret(text).Digest()
	}
	return sha256.Sum256(short[:copy(short[:], text)])
}

// sessionPolicy is what a keyspace says of sessions, and whether it takes them: one does that says
// something, and the service's own API does. So does a question that names none.
func (v *Verifier) sessionPolicy(keyspace string) (policy *domain.SessionPolicy, taken bool) {
	if keyspace == "" || keyspace == domain.ManagementKeyspace {
		return nil, true
	}
	k, err := v.store.Keyspaces().Named(keyspace)
	if err != nil || k.Sessions == nil {
		return nil, false
	}
	return k.Sessions, true
}

// unchangedSession reports whether findBySession would find the same again. A keyspace that changed
// may say something else of sessions.
func (v *Verifier) unchangedSession(r *Request, a *Answer) (bool, error) {
	if v.store.SessionsVersion() <= a.version {
		return true, nil
	}
	if a.Keyspace != nil {
		if now, err := v.store.Keyspaces().Named(r.Keyspace); err != nil || now != a.Keyspace {
			return false, nil
		}
	}
	if s, known := v.sessions.find(&a.digest); known {
		if signed, good := v.store.SessionKeys().Of(s.generation); !good || !signed.Until.IsZero() && signed.Until.UnixMilli() != a.Credential.ValidUntil {
			return false, nil
		}
	}
	return v.store.UnchangedSession(&a.Credential)
}

// A knownSession is what a token said that was checked.
type knownSession struct {
	token.SessionClaims
	generation int // of the key that signed it
	found      atomic.Pointer[foundSession]
}

// A foundSession is what was found last for a token. It is good while nothing changes that a session
// hangs on: to find it takes a look-up for each of that. It does not change.
type foundSession struct {
	version    uint64 // of the read model, before it was looked for
	keyspace   string // that was asked for
	credential projections.Credential
}

// recall puts what was found last into a, if it is what would be found at a's version, or a later one.
// sessionsVersion was read after that one.
func (s *knownSession) recall(keyspace string, sessionsVersion uint64, a *Answer) bool {
	f := s.found.Load()
	if f == nil || f.version < sessionsVersion || f.keyspace != keyspace {
		return false
	}
	a.Credential.Copy(&f.credential)
	return true
}

func (s *knownSession) remember(keyspace string, a *Answer) {
	f := &foundSession{version: a.version, keyspace: strings.Clone(keyspace)}
	f.credential.Copy(&a.Credential)
	f.credential.Keyspace = f.keyspace
	s.found.Store(f)
}

func (v *Verifier) checkSession(text string, generations []int) (*knownSession, error) {
	claims, generation, err := v.tokens.CheckSession(text, generations)
	claims.Issuer, claims.Email = "", "" // which are of no use here
	return &knownSession{SessionClaims: claims, generation: generation}, err
}

// ended puts a session that is not there any more into a credential, by what its token said.
func (s *knownSession) ended(c *projections.Credential) {
	*c = projections.Credential{Credential: domain.Credential{Key: domain.KeyID(s.ID), Org: domain.OrgID(s.Org), State: domain.Revoked, ExpiresAt: s.Expiry * 1000, Scopes: c.Scopes[:0]},
		Owner: s.Subject, Metadata: "{}"}
	c.Session, c.User, c.CreatedAt = domain.SessionID(s.ID), domain.UserID(s.Subject), time.Unix(s.IssuedAt, 0)
}

// knownSessions remembers the tokens whose signature was checked, by the digests of their texts. Only
// those of sessions that are there come in, so that no flood of texts drives them out; of more than
// there is room for, those go that were not used for the longest.
type knownSessions struct {
	shards [sessionShards]sessionShard
}

// A sessionShard has the digests of one remainder. What is found among the old ones becomes young
// again; when the young ones are too many they become the old ones, and those go.
type sessionShard struct {
	mu         sync.Mutex
	young, old map[domain.Digest]*knownSession
}

const sessionShards = 64

// maxYoungSessions bounds the memory to some 20 MB; tests lower it.
var maxYoungSessions = 512

func (k *knownSessions) shard(d *domain.Digest) *sessionShard {
	return &k.shards[d[len(d)-1]%sessionShards]
}

func (k *knownSessions) find(d *domain.Digest) (s *knownSession, known bool) {
	shard := k.shard(d)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if s, known = shard.young[*d]; known {
		return s, true
	}
	if s, known = shard.old[*d]; known {
		shard.keep(*d, s)
	}
	return s, known
}

func (k *knownSessions) keep(d domain.Digest, s *knownSession) {
	shard := k.shard(&d)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	shard.keep(d, s)
}

// keep is called with the lock held.
func (shard *sessionShard) keep(d domain.Digest, s *knownSession) {
	if len(shard.young) >= maxYoungSessions {
		shard.old, shard.young = shard.young, nil
	}
	if shard.young == nil {
		shard.young = map[domain.Digest]*knownSession{}
	}
	shard.young[d] = s
}
