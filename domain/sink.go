package domain

import "time"

// A Sink is where events are forwarded to: a webhook, a SIEM. It belongs to an organization, whose
// events it gets, or to the installation, and gets all. The zero Sink has no history.
type Sink struct {
	ID  SinkID `json:"id"`
	Org OrgID  `json:"org_id"`
	SinkDefinition
	Credentials []string    `json:"credentials,omitempty"` // the names of those that it has
	PublicKey   string      `json:"public_key,omitempty"`  // webhook: whpk_…, of the newest signing secret
	Sealed      []byte      `json:"sealed,omitempty"`      // its SinkCredentials
	After       TrailPlace  `json:"after"`                 // it gets what comes after that
	CreatedAt   time.Time   `json:"created_at"`
	CreatedBy   string      `json:"created_by,omitempty"`
	Pause       *SinkPause  `json:"pause,omitempty"` // nil: it is not paused
	ResumedAt   time.Time   `json:"resumed_at,omitzero"`
	Replays     int         `json:"replays,omitempty"` // how many were asked for
	Replay      *SinkReplay `json:"replay,omitempty"`  // the last; nil: none is under way
	Gaps        int         `json:"gaps,omitempty"`    // how many there were
	LastGap     *SinkSpan   `json:"last_gap,omitempty"`
	DeletedAt   time.Time   `json:"deleted_at,omitzero"`
}

// A TrailPlace is a place in the trail: after an event, and after a message of uses.
type TrailPlace struct {
	Events uint64 `json:"events"`
	Uses   uint64 `json:"uses"`
}

// before reports whether p has something that o does not.
func (p TrailPlace) before(o TrailPlace) bool { return p.Events < o.Events || p.Uses < o.Uses }

// A SinkPause is why a sink forwards nothing, and since when.
type SinkPause struct {
	Reason SinkPauseReason `json:"reason"`
	Detail string          `json:"detail,omitempty"` // of the last failure
	At     time.Time       `json:"at"`
	By     string          `json:"by,omitempty"`
}

// A SinkReplay is what a sink is to get again: a part of the trail, or what its receiver has
// rejected.
type SinkReplay struct {
	Number int `json:"number"` // of the sink's replays, from 1
	SinkReplayRange
	At time.Time `json:"at"`
	By string    `json:"by,omitempty"`
}

// A SinkReplayRange is the part of the trail after From, up to To; or instead all dead letters.
type SinkReplayRange struct {
	From        TrailPlace `json:"from"`
	To          TrailPlace `json:"to"`
	DeadLetters bool       `json:"dead_letters,omitempty"`
}

// Exists reports whether s was created and not deleted.
func (s *Sink) Exists() bool { return s.ID != "" && s.DeletedAt.IsZero() }

// Paused reports whether s forwards nothing.
func (s *Sink) Paused() bool { return s.Pause != nil }

// Reach is whose events s gets.
func (s *Sink) Reach() Reach { return Principal{Org: s.Org}.Reach() }

// SinkCreated began a sink.
type SinkCreated struct {
	ID          SinkID         `json:"sink_id"`
	Org         OrgID          `json:"org_id"`
	Definition  SinkDefinition `json:"definition"`
	Credentials []string       `json:"credentials,omitempty"`
	PublicKey   string         `json:"public_key,omitempty"`
	After       TrailPlace     `json:"after"`
	Sealed      []byte         `json:"-"`
	Header
}

// SinkUpdated gave a sink another definition, or other credentials.
type SinkUpdated struct {
	Definition  SinkDefinition `json:"definition"`
	Credentials []string       `json:"credentials,omitempty"`
	Sealed      []byte         `json:"-"`
	Header
}

// SinkSecretRotated gave a webhook a new signing secret. Deliveries are signed with the one before
// as well, until OldValidUntil.
type SinkSecretRotated struct {
	PublicKey     string    `json:"public_key,omitempty"`
	OldValidUntil time.Time `json:"old_valid_until"`
	Sealed        []byte    `json:"-"`
	Header
}

// SinkPaused ended the forwarding until SinkResumed.
type SinkPaused struct {
	Reason SinkPauseReason `json:"reason"`
	Detail string          `json:"detail,omitempty"`
	Header
}

// SinkResumed lets a sink go on from where it was paused.
type SinkResumed struct{ Header }

// SinkReplayed began a replay.
type SinkReplayed struct {
	Number int `json:"number"`
	SinkReplayRange
	Header
}

// SinkReplayEnded ended a replay, be it that it could not be finished.
type SinkReplayEnded struct {
	Number int `json:"number"`
	SinkReplayResult
	Header
}

// SinkGap tells what a sink did not get, and never will.
type SinkGap struct {
	SinkSpan
	Header
}

// SinkDeleted ended a sink for good.
type SinkDeleted struct{ Header }

// Private is the sink's credentials, sealed.
func (e SinkCreated) Private() Private { return Private{Sealed: e.Sealed} }

// WithPrivate is the event with p for its private facts.
func (e SinkCreated) WithPrivate(p Private) Event { e.Sealed = p.Sealed; return e }

// Private is the sink's credentials, sealed.
func (e SinkUpdated) Private() Private { return Private{Sealed: e.Sealed} }

// WithPrivate is the event with p for its private facts.
func (e SinkUpdated) WithPrivate(p Private) Event { e.Sealed = p.Sealed; return e }

// Private is the sink's credentials, sealed.
func (e SinkSecretRotated) Private() Private { return Private{Sealed: e.Sealed} }

// WithPrivate is the event with p for its private facts.
func (e SinkSecretRotated) WithPrivate(p Private) Event { e.Sealed = p.Sealed; return e }

// The numbers of sinks that there can be. Of those that are created at the same moment some more
// may come to be.
const (
	MaxSinksPerOrganization   = 50
	MaxStreamsPerOrganization = 4 // sinks of type stream, each of which may take a gibibyte of the ledger's servers
	MaxSinks                  = 10_000
)

// SinkCounts are how many sinks there are.
type SinkCounts struct{ OfOrg, StreamsOfOrg, All int }

// CreateSink asks for a new sink. Credentials are sealed, and checked with the definition.
type CreateSink struct {
	ID          SinkID
	Org         OrgID
	Definition  SinkDefinition
	Credentials []string
	PublicKey   string
	Sealed      []byte
	After       TrailPlace
	Counts      SinkCounts
	At          time.Time
	By          Principal
}

// Create decides whether the sink may come to be.
func (s Sink) Create(c CreateSink) (Event, error) {
	switch {
	case s.ID != "":
		return nil, nil
	case !c.By.Reaches(c.Org):
		return nil, ErrOrganizationNotFound
	case c.Counts.OfOrg >= MaxSinksPerOrganization:
		return nil, ErrTooManySinks
	case c.Definition.Type == SinkStream && c.Counts.StreamsOfOrg >= MaxStreamsPerOrganization:
		return nil, ErrTooManySinkStreams
	case c.Counts.All >= MaxSinks:
		return nil, ErrTooManySinksInAll
	}
	if err := c.Definition.mayBelongTo(c.Org); err != nil {
		return nil, err
	}
	return SinkCreated{ID: c.ID, Org: c.Org, Definition: c.Definition, Credentials: c.Credentials, PublicKey: c.PublicKey, After: c.After, Sealed: c.Sealed,
		Header: Header{c.At, c.By.ID}}, nil
}

// UpdateSink asks for another definition. Sealed are the credentials that go with it; nil: as they are.
type UpdateSink struct {
	Definition  SinkDefinition
	Credentials []string
	Sealed      []byte
	At          time.Time
	By          Principal
}

// Update decides whether the sink may get another definition, or other credentials.
func (s Sink) Update(c UpdateSink) (Event, error) {
	if err := s.changeable(c.By); err != nil {
		return nil, err
	}
	if c.Sealed == nil && s.SinkDefinition.equals(c.Definition) {
		return nil, nil
	}
	e := SinkUpdated{Definition: c.Definition, Credentials: c.Credentials, Sealed: c.Sealed, Header: Header{c.At, c.By.ID}}
	if c.Sealed == nil {
		e.Credentials, e.Sealed = s.Credentials, s.Sealed
	}
	return e, nil
}

// RotateSinkSecret asks for a new signing secret, which is among what is sealed.
type RotateSinkSecret struct {
	PublicKey string
	Sealed    []byte
	Overlap   time.Duration
	At        time.Time
	By        Principal
}

// RotateSecret decides whether the sink may have a new signing secret.
func (s Sink) RotateSecret(c RotateSinkSecret) (Event, error) {
	if err := s.changeable(c.By); err != nil {
		return nil, err
	}
	if s.Type != SinkWebhook {
		return nil, ErrSinkUnsigned
	}
	return SinkSecretRotated{PublicKey: c.PublicKey, OldValidUntil: c.At.Add(c.Overlap), Sealed: c.Sealed, Header: Header{c.At, c.By.ID}}, nil
}

// PauseSink asks to forward nothing.
type PauseSink struct {
	Reason SinkPauseReason
	Detail string
	At     time.Time
	By     Principal
}

// PauseFor decides whether the sink may be paused.
func (s Sink) PauseFor(c PauseSink) (Event, error) {
	if err := s.changeable(c.By); err != nil || s.Paused() {
		return nil, err
	}
	return SinkPaused{Reason: c.Reason, Detail: c.Detail, Header: Header{c.At, c.By.ID}}, nil
}

// ChangeSink asks to resume a sink, or to delete it.
type ChangeSink struct {
	At time.Time
	By Principal
}

// Resume decides whether the sink may go on.
func (s Sink) Resume(c ChangeSink) (Event, error) {
	if err := s.changeable(c.By); err != nil || !s.Paused() {
		return nil, err
	}
	return SinkResumed{Header{c.At, c.By.ID}}, nil
}

// Delete decides whether the sink may end.
func (s Sink) Delete(c ChangeSink) (Event, error) {
	if s.ID != "" && !s.Exists() && c.By.Reaches(s.Org) {
		return nil, nil
	}
	if err := s.changeable(c.By); err != nil {
		return nil, err
	}
	return SinkDeleted{Header{c.At, c.By.ID}}, nil
}

// ReplaySink asks to forward something again.
type ReplaySink struct {
	SinkReplayRange
	At time.Time
	By Principal
}

// BeginReplay decides whether the sink may get something again. One replay at a time is under way.
func (s Sink) BeginReplay(c ReplaySink) (Event, error) {
	if err := s.changeable(c.By); err != nil {
		return nil, err
	}
	if !c.DeadLetters && !c.From.before(c.To) {
		return nil, InvalidField("to", "must be after from")
	}
	if s.Replay != nil {
		return nil, ErrReplayRunning
	}
	return SinkReplayed{Number: s.Replays + 1, SinkReplayRange: c.SinkReplayRange, Header: Header{c.At, c.By.ID}}, nil
}

// EndSinkReplay tells that a replay has ended.
type EndSinkReplay struct {
	Number int
	Result SinkReplayResult
	At     time.Time
	By     Principal
}

// EndReplay decides whether the end of the replay is news.
func (s Sink) EndReplay(c EndSinkReplay) (Event, error) {
	if err := s.changeable(c.By); err != nil || s.Replay == nil || s.Replay.Number != c.Number {
		return nil, err
	}
	return SinkReplayEnded{Number: c.Number, SinkReplayResult: c.Result, Header: Header{c.At, c.By.ID}}, nil
}

// NoteSinkGap tells what the sink did not get.
type NoteSinkGap struct {
	SinkSpan
	At time.Time
	By Principal
}

// NoteGap decides whether the gap is news.
func (s Sink) NoteGap(c NoteSinkGap) (Event, error) {
	if err := s.changeable(c.By); err != nil || s.LastGap != nil && *s.LastGap == c.SinkSpan {
		return nil, err
	}
	return SinkGap{c.SinkSpan, Header{c.At, c.By.ID}}, nil
}

func (s Sink) changeable(p Principal) error {
	if !s.Exists() || !p.Reaches(s.Org) {
		return ErrSinkNotFound
	}
	return nil
}

// Apply moves s past e. It cannot fail and must not judge: e already happened.
func (s *Sink) Apply(e Event) {
	switch e := e.(type) {
	case SinkCreated:
		*s = Sink{ID: e.ID, Org: e.Org, SinkDefinition: e.Definition, Credentials: e.Credentials, PublicKey: e.PublicKey, Sealed: e.Sealed, After: e.After, CreatedAt: e.At, CreatedBy: e.By}
	case SinkUpdated:
		s.SinkDefinition, s.Credentials, s.Sealed = e.Definition, e.Credentials, e.Sealed
	case SinkSecretRotated:
		s.PublicKey, s.Sealed = e.PublicKey, e.Sealed
	case SinkPaused:
		s.Pause = &SinkPause{Reason: e.Reason, Detail: e.Detail, At: e.At, By: e.By}
	case SinkResumed:
		s.Pause, s.ResumedAt = nil, e.At
	case SinkReplayed:
		s.Replays, s.Replay = e.Number, &SinkReplay{Number: e.Number, SinkReplayRange: e.SinkReplayRange, At: e.At, By: e.By}
	case SinkReplayEnded:
		s.Replay = nil
	case SinkGap:
		s.Gaps, s.LastGap = s.Gaps+1, &e.SinkSpan
	case SinkDeleted:
		s.Sealed, s.Replay, s.DeletedAt = nil, nil, e.At
	}
}
