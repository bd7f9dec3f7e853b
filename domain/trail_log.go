package domain

import "time"

// A TrailLog is the Merkle logs of the installation, one over each stream of its trail, which
// begin together and have one number. The zero value has no history.
type TrailLog struct {
	Number   uint64 // 0: none has begun
	Origin   string // of both logs, before the stream's name
	Reason   TrailReason
	Began    time.Time
	Restored string            // when the restoration before it was confirmed
	Keys     []TrailKeys       // those that sign or have signed, the newest first
	Forks    map[string]bool   // the streams, by name, that differ from what was signed
	Earlier  []string          // the origins of the logs before, the newest first
	Previous map[string]string // the last checkpoint of the log before, by stream
}

// Why a log began.
type TrailReason string

// The reasons.
const (
	TrailInstalled TrailReason = "installed" // the first start
	TrailRestored  TrailReason = "restored"  // the ledger comes from a back-up
	TrailRenewed   TrailReason = "renewed"   // an operator ended the log before
)

// TrailKeys are a generation of the keys that sign checkpoints.
type TrailKeys struct {
	KeyGeneration // they sign while it is good
	Verifiers     map[string][]string
}

// TrailBegun says that new Merkle logs over the trail began.
type TrailBegun struct {
	Log          uint64              `json:"log"`
	Origin       string              `json:"origin"` // of the checkpoints, with a slash and the stream after it
	Reason       TrailReason         `json:"reason"`
	Comment      string              `json:"comment,omitempty"`
	Restored     string              `json:"restored_at,omitempty"`          // when the restoration was confirmed
	Previous     map[string]string   `json:"previous_checkpoints,omitempty"` // the last of the log before, by stream
	VerifierKeys map[string][]string `json:"verifier_keys"`                  // by stream, as signed notes have them
	Header
}

// TrailKeysRotated says that checkpoints are signed with new keys.
type TrailKeysRotated struct {
	Log          uint64              `json:"log"`
	Generation   int                 `json:"generation"`
	OldUntil     time.Time           `json:"old_valid_until"` // those before sign as well until then
	VerifierKeys map[string][]string `json:"verifier_keys"`
	Header
}

// TrailForkDetected says that a stream differs from what was signed of it, or is shorter. No
// checkpoint of it is signed any more.
type TrailForkDetected struct {
	Log        uint64 `json:"log"`
	Stream     string `json:"stream"`
	Finding    string `json:"finding"`              // in a sentence
	Checkpoint string `json:"checkpoint,omitempty"` // that was signed
	Header
}

// BeginTrail asks for a log if there is none, or if the one there is was begun before the ledger was
// restored from a back-up.
type BeginTrail struct {
	Origin       string // of the new log
	Restored     string // when the restoration of the ledger was confirmed; "": it was not restored
	Previous     map[string]string
	VerifierKeys map[string][]string
	At           time.Time
	By           Principal
}

// Begin decides whether a log begins by itself.
func (t TrailLog) Begin(c BeginTrail) (Event, error) {
	switch {
	case !c.By.isSystem():
		return nil, ErrOutOfReach
	case t.Number != 0 && t.Restored == c.Restored:
		return nil, nil
	}
	e := TrailBegun{Log: t.Number + 1, Origin: c.Origin, Reason: TrailRestored, Restored: c.Restored, Previous: c.Previous, VerifierKeys: c.VerifierKeys, Header: Header{c.At, c.By.ID}}
	if c.Restored == "" {
		e.Reason = TrailInstalled
	}
	return e, nil
}

// RenewTrail asks for the next log: the way out of a fork.
type RenewTrail struct {
	Origin       string
	Comment      string
	Previous     map[string]string
	VerifierKeys map[string][]string
	At           time.Time
	By           Principal
}

// Renew decides whether the next log may begin.
func (t TrailLog) Renew(c RenewTrail) (Event, error) {
	if !c.By.Reaches(Installation) {
		return nil, ErrOutOfReach
	}
	return TrailBegun{Log: t.Number + 1, Origin: c.Origin, Reason: TrailRenewed, Comment: c.Comment, Restored: t.Restored, Previous: c.Previous, VerifierKeys: c.VerifierKeys, Header: Header{c.At, c.By.ID}}, nil
}

// RotateTrailKeys asks for new keys; those before sign as well for Overlap.
type RotateTrailKeys struct {
	Overlap      time.Duration
	VerifierKeys map[string][]string // of the next generation
	At           time.Time
	By           Principal
}

// NextGeneration is that of the keys that a rotation makes.
func (t TrailLog) NextGeneration() int { return len(t.Keys) + 1 }

// RotateKeys decides whether new keys may sign.
func (t TrailLog) RotateKeys(c RotateTrailKeys) (Event, error) {
	switch {
	case !c.By.Reaches(Installation):
		return nil, ErrOutOfReach
	case t.Number == 0:
		return nil, ErrStarting
	case len(t.SigningKeys(c.At)) >= maxSigningKeys && !c.By.isSystem():
		return nil, ErrTooManyTrailKeys
	}
	return TrailKeysRotated{Log: t.Number, Generation: t.NextGeneration(), OldUntil: c.At.Add(c.Overlap), VerifierKeys: c.VerifierKeys, Header: Header{c.At, c.By.ID}}, nil
}

// maxSigningKeys bounds the generations that sign at once: a verifier need not take more than 16
// signatures of a note, and witnesses add theirs.
const maxSigningKeys = 3

// SigningKeys are the generations that sign at a time, the newest first.
func (t TrailLog) SigningKeys(at time.Time) (keys []TrailKeys) {
	for _, k := range t.Keys {
		if k.Good(at) {
			keys = append(keys, k)
		}
	}
	return keys
}

// DetectFork tells that a stream differs from what was signed of it in a log.
type DetectFork struct {
	Log        uint64
	Stream     string
	Finding    string
	Checkpoint string
	At         time.Time
	By         Principal
}

// DetectFork decides whether that is news, once a log and stream.
func (t TrailLog) DetectFork(c DetectFork) (Event, error) {
	switch {
	case !c.By.isSystem():
		return nil, ErrOutOfReach
	case t.Number != c.Log || t.Forks[c.Stream]:
		return nil, nil
	}
	return TrailForkDetected{Log: c.Log, Stream: c.Stream, Finding: c.Finding, Checkpoint: c.Checkpoint, Header: Header{c.At, c.By.ID}}, nil
}

// Apply moves t past e. It cannot fail and must not judge: e already happened.
func (t *TrailLog) Apply(e Event) {
	switch e := e.(type) {
	case TrailBegun:
		earlier := t.Earlier
		if t.Number != 0 {
			earlier = append([]string{t.Origin}, t.Earlier...)
		}
		*t = TrailLog{Number: e.Log, Origin: e.Origin, Reason: e.Reason, Began: e.At, Restored: e.Restored, Earlier: earlier, Previous: e.Previous,
			Keys: []TrailKeys{{KeyGeneration{Generation: 1}, e.VerifierKeys}}}
	case TrailKeysRotated:
		before := make([]TrailKeys, len(t.Keys)) // the old slice may be in use
		for i, k := range t.Keys {
			if before[i] = k; k.Until.IsZero() {
				before[i].Until = e.OldUntil
			}
		}
		t.Keys = append([]TrailKeys{{KeyGeneration{Generation: e.Generation}, e.VerifierKeys}}, before...)
	case TrailForkDetected:
		forks := map[string]bool{e.Stream: true}
		for s := range t.Forks {
			forks[s] = true
		}
		t.Forks = forks
	}
}
