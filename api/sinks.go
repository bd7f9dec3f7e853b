package api

import (
	"context"
	"errors"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/projections"
)

// A Sink is a sink as the API shows it: never with its credentials.
type Sink struct {
	ID          domain.SinkID       `json:"id"`
	Org         *domain.OrgID       `json:"org_id" doc:"null: it is the installation's, and gets the events of all organizations"`
	Name        string              `json:"name"`
	Type        sinkType            `json:"type"`
	URL         string              `json:"url,omitempty"`
	Format      sinkFormat          `json:"format"`
	EventTypes  []string            `json:"event_types" doc:"Empty: all."`
	Uses        domain.SinkUses     `json:"uses"`
	Settings    domain.SinkSettings `json:"settings"`
	Credentials []string            `json:"credentials" doc:"The names of those that it has."`
	PublicKey   string              `json:"public_key,omitempty" doc:"Of a webhook with sign_asymmetric: what signatures v1a are checked with."`
	After       domain.TrailPlace   `json:"after" doc:"It began after this place: an event, and a message of uses."`
	State       string              `json:"state" enum:"active,paused"`
	Pause       *domain.SinkPause   `json:"pause,omitempty" doc:"Missing: it is not paused."`
	Replay      *domain.SinkReplay  `json:"replay,omitempty" doc:"The one under way; missing: none is."`
	Gaps        int                 `json:"gaps" doc:"How often it could not get what the ledger had no more."`
	LastGap     *domain.SinkSpan    `json:"last_gap,omitempty"`
	CreatedAt   time.Time           `json:"created_at"`
	CreatedBy   string              `json:"created_by"`
	Revision    uint64              `json:"revision"`
}

func showSink(s *projections.SinkRow) Sink {
	shown := Sink{ID: s.ID, Name: s.Name, Type: sinkType(s.Type), URL: s.URL, Format: sinkFormat(s.Format), EventTypes: orEmpty(s.EventTypes), Uses: s.Uses, Settings: s.Settings,
		Credentials: orEmpty(s.Credentials), After: s.After, State: "active", Pause: s.Pause, Replay: s.Replay, Gaps: s.Gaps, LastGap: s.LastGap,
		CreatedAt: s.CreatedAt, CreatedBy: s.CreatedBy, Revision: uint64(s.Revision)}
	if s.Org != domain.Installation {
		shown.Org = &s.Org
	}
	if s.Paused() {
		shown.State = "paused"
	}
	if shown.Uses.Mode == "" {
		shown.Uses.Mode = "each"
	}
	if s.Settings.SignAsymmetric {
		shown.PublicKey = s.PublicKey
	}
	return shown
}

type sinkAnswer struct {
	ETag     string `header:"ETag"`
	Position uint64 `header:"Keytrail-Position"`
	Body     Sink
}

// signingAnswer is a sink and the signing secret of a webhook, which appears here and nowhere else.
type signingAnswer struct {
	ETag     string `header:"ETag"`
	Position uint64 `header:"Keytrail-Position"`
	Replayed string `header:"Idempotency-Replayed"`
	NoStore  string `header:"Cache-Control"`
	Body     struct {
		Sink   Sink   `json:"sink"`
		Secret string `json:"signing_secret,omitempty" doc:"Of a webhook, shown this once; absent when an Idempotency-Key is repeated."`
	}
}

// changedSink answers once the change is in the read model.
func (s *server) changedSink(ctx context.Context, r commands.SinkResult, err error) (*sinkAnswer, error) {
	if err == nil {
		err = s.waitFor(ctx, r.Position)
	}
	if err != nil {
		return nil, err
	}
	return &sinkAnswer{etag(r.Position), uint64(r.Position), showSink(&projections.SinkRow{Sink: r.Sink, Revision: r.Position})}, nil
}

// withSigningSecret waits for the read model, too, but does not fail on it: the secret exists in
// this answer alone.
func (s *server) withSigningSecret(ctx context.Context, r commands.SinkResult, err error) (*signingAnswer, error) {
	if err != nil {
		return nil, err
	}
	if err := s.waitFor(ctx, r.Position); err != nil {
		s.Logger.WarnContext(ctx, "answered before the read model had the sink", "sink", r.Sink.ID, "position", r.Position)
	}
	a := &signingAnswer{ETag: etag(r.Position), Position: uint64(r.Position), NoStore: "no-store"}
	a.Body.Sink, a.Body.Secret = showSink(&projections.SinkRow{Sink: r.Sink, Revision: r.Position}), r.Secret.Reveal()
	if r.Replayed {
		a.Replayed = "true"
	}
	return a, nil
}

// newSink is the body that creates a sink.
type newSink struct {
	Org        string          `json:"org_id,omitempty" nullable:"true" doc:"The organization; a caller bound to one may leave it out. Left out by others: the installation."`
	Name       string          `json:"name"`
	Type       sinkType        `json:"type"`
	URL        string          `json:"url,omitempty" doc:"Of the receiver, for the types that have one."`
	Format     sinkFormat      `json:"format,omitempty" doc:"Left out: the first of the type's."`
	EventTypes []string        `json:"event_types,omitempty" doc:"Left out: all."`
	Uses       domain.SinkUses `json:"uses,omitzero" doc:"Left out: each use is forwarded."`
	From       trailPlace      `json:"from,omitempty" doc:"What it begins after: now, beginning, a position of the events, or a time. Left out: now."`
	Settings   sinkSettings    `json:"settings,omitempty" doc:"Settings and credentials of the type."`
}

// TransformSchema states the bounds of the definition.
func (newSink) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return boundedSink(r, s)
}

type createSinkRequest struct {
	WriteHeaders
	Body newSink
}

func (s *server) createSink(ctx context.Context, p domain.Principal, in *createSinkRequest) (*signingAnswer, error) {
	org, err := within(p, in.Body.Org)
	if err == nil {
		err = s.waitForEnd(ctx) // for the number of sinks
	}
	if err != nil {
		return nil, err
	}
	after, err := s.place(ctx, in.Body.From, "from")
	if err != nil {
		return nil, err
	}
	b := in.Body
	result, err := s.Commands.CreateSink(ctx, commands.CreateSink{Request: in.request, Org: org, Settings: b.Settings.raw, After: after,
		Definition: domain.SinkDefinition{Name: b.Name, Type: domain.SinkType(b.Type), URL: b.URL, Format: domain.SinkFormat(b.Format), EventTypes: b.EventTypes, Uses: b.Uses}})
	return s.withSigningSecret(ctx, result, err)
}

type listSinksRequest struct {
	AfterParam
	Org    string `query:"org_id" maxLength:"64"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50"`
	Cursor string `query:"cursor" maxLength:"2048"`
}

type sinkPage struct {
	Body struct {
		Items      []Sink  `json:"items"`
		NextCursor *string `json:"next_cursor"`
	}
}

func (s *server) listSinks(ctx context.Context, p domain.Principal, in *listSinksRequest) (*sinkPage, error) {
	reach, err := reachOf(p, in.Org)
	if err == nil {
		err = s.waitAfter(ctx, in.AfterParam)
	}
	if err != nil {
		return nil, err
	}
	found, next, err := s.Store.Sinks(reach, in.Cursor, in.Limit)
	if err != nil {
		return nil, err
	}
	page := &sinkPage{}
	page.Body.Items, page.Body.NextCursor = []Sink{}, cursorOrNull(next)
	for i := range found {
		page.Body.Items = append(page.Body.Items, showSink(&found[i]))
	}
	return page, nil
}

// SinkPath names a sink in a path.
type SinkPath struct {
	ID string `path:"id" doc:"The sink's id." maxLength:"64"`
}

type readSinkRequest struct {
	SinkPath
	AfterParam
}

// sinkWithStatus is a sink and how it fares.
type sinkWithStatus struct {
	ETag     string `header:"ETag"`
	Position uint64 `header:"Keytrail-Position"`
	Body     struct {
		Sink
		Status domain.SinkStatus `json:"status"`
	}
}

func (s *server) readSink(ctx context.Context, p domain.Principal, in *readSinkRequest) (*sinkWithStatus, error) {
	found, err := s.readableSink(ctx, p, in.SinkPath, in.AfterParam)
	if err != nil {
		return nil, err
	}
	a := &sinkWithStatus{ETag: etag(found.Revision), Position: uint64(found.Revision)}
	a.Body.Sink = showSink(&found)
	a.Body.Status, err = s.forwarders().SinkStatus(ctx, found.ID)
	return a, err
}

// readableSink is the sink that a request names. If the read model has none, a caller of the
// installation makes it catch up with the ledger first, as readableKey does.
func (s *server) readableSink(ctx context.Context, p domain.Principal, named SinkPath, after AfterParam) (projections.SinkRow, error) {
	id, err := domain.ParseSinkID(named.ID)
	if err == nil {
		err = s.waitAfter(ctx, after)
	}
	if err != nil {
		return projections.SinkRow{}, err
	}
	found, err := s.Store.Sink(p.Reach(), id)
	if !errors.Is(err, domain.ErrSinkNotFound) || !p.Reach().All {
		return found, err
	}
	if err := s.waitForEnd(ctx); err != nil {
		return found, err
	}
	return s.Store.Sink(p.Reach(), id)
}

// SinkWrite is what a request that changes a sink has beside its body.
type SinkWrite struct {
	WriteHeaders
	SinkPath
}

// writableSink is how a command addresses the sink that a request names. The sink of a caller of
// one organization is looked for there alone, on the ledger, as writableKey does.
func (s *server) writableSink(ctx context.Context, p domain.Principal, in SinkWrite) (c commands.ChangeSink, err error) {
	c = commands.ChangeSink{Request: in.request, Org: p.Org}
	if c.Sink, err = domain.ParseSinkID(in.ID); err != nil || !p.Reach().All {
		return c, err
	}
	c.Org, err = s.Store.SinkOrg(p.Reach(), c.Sink)
	if !errors.Is(err, domain.ErrSinkNotFound) {
		return c, err
	}
	if err := s.waitForEnd(ctx); err != nil {
		return c, err
	}
	c.Org, err = s.Store.SinkOrg(p.Reach(), c.Sink)
	return c, err
}

// sinkChanges is the body that updates a sink.
type sinkChanges struct {
	Name       *string             `json:"name,omitempty" nullable:"false"`
	URL        *string             `json:"url,omitempty" nullable:"false" doc:"Of another receiver: its credentials are given with it."`
	Format     *sinkFormat         `json:"format,omitempty" nullable:"false"`
	EventTypes *[]string           `json:"event_types,omitempty" nullable:"false"`
	Uses       *domain.SinkUses    `json:"uses,omitempty" nullable:"false"`
	Settings   sinkSettingsChanges `json:"settings,omitempty" doc:"Those that are not named stay as they are; null takes one away."`
}

// TransformSchema states the bounds of the definition.
func (sinkChanges) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return boundedSink(r, s)
}

type updateSinkRequest struct {
	SinkWrite
	Body sinkChanges
}

func (s *server) updateSink(ctx context.Context, p domain.Principal, in *updateSinkRequest) (*sinkAnswer, error) {
	c, err := s.writableSink(ctx, p, in.SinkWrite)
	if err == nil {
		err = noNulls(ctx)
	}
	if err != nil {
		return nil, err
	}
	b := in.Body
	result, err := s.Commands.UpdateSink(ctx, commands.UpdateSink{Request: c.Request, Org: c.Org, Sink: c.Sink, Name: b.Name, URL: b.URL,
		Format: (*domain.SinkFormat)(b.Format), EventTypes: b.EventTypes, Uses: b.Uses, Settings: b.Settings.raw})
	return s.changedSink(ctx, result, err)
}

type switchSinkRequest struct {
	SinkWrite
	Body *struct{} `required:"false"`
}

// changeSink carries out a command that has nothing but the sink's name.
func (s *server) changeSink(command func(context.Context, commands.ChangeSink) (commands.SinkResult, error)) func(context.Context, domain.Principal, *switchSinkRequest) (*sinkAnswer, error) {
	return func(ctx context.Context, p domain.Principal, in *switchSinkRequest) (*sinkAnswer, error) {
		c, err := s.writableSink(ctx, p, in.SinkWrite)
		if err != nil {
			return nil, err
		}
		result, err := command(ctx, c)
		return s.changedSink(ctx, result, err)
	}
}

type deletedAnswer struct {
	Position uint64 `header:"Keytrail-Position"`
}

func (s *server) deleteSink(ctx context.Context, p domain.Principal, in *SinkWrite) (*deletedAnswer, error) {
	c, err := s.writableSink(ctx, p, *in)
	if err != nil {
		return nil, err
	}
	result, err := s.Commands.DeleteSink(ctx, c)
	if err == nil {
		err = s.waitFor(ctx, result.Position)
	}
	return &deletedAnswer{uint64(result.Position)}, err
}

type rotateSinkSecretRequest struct {
	SinkWrite
	Body *rotateSinkSecretBody `required:"false"`
}

type rotateSinkSecretBody struct {
	Overlap *domain.Duration `json:"overlap,omitempty" doc:"How long deliveries are signed with the secrets before as well; left out: 24h."`
}

// TransformSchema states the bound of the overlap.
func (rotateSinkSecretBody) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return bounded[commands.RotateSinkSecret](r, s)
}

func (s *server) rotateSinkSecret(ctx context.Context, p domain.Principal, in *rotateSinkSecretRequest) (*signingAnswer, error) {
	c, err := s.writableSink(ctx, p, in.SinkWrite)
	if err != nil {
		return nil, err
	}
	rotate := commands.RotateSinkSecret{Request: c.Request, Org: c.Org, Sink: c.Sink}
	if in.Body != nil {
		rotate.Overlap = in.Body.Overlap
	}
	result, err := s.Commands.RotateSinkSecret(ctx, rotate)
	return s.withSigningSecret(ctx, result, err)
}

type replaySinkRequest struct {
	SinkWrite
	Body struct {
		From trailPlace `json:"from" doc:"beginning, a position of the events, which is left out itself, or a time."`
		To   trailPlace `json:"to,omitempty" doc:"now, a position of the events, included, or a time. Left out: now."`
	}
}

func (s *server) replaySink(ctx context.Context, p domain.Principal, in *replaySinkRequest) (*sinkAnswer, error) {
	c, err := s.writableSink(ctx, p, in.SinkWrite)
	if err == nil {
		_, err = s.readableSink(ctx, p, in.SinkPath, AfterParam{}) // before the ledger is asked for places
	}
	if err != nil {
		return nil, err
	}
	var within domain.SinkReplayRange
	if within.From, err = s.place(ctx, in.Body.From, "from"); err != nil {
		return nil, err
	}
	if within.To, err = s.place(ctx, in.Body.To, "to"); err != nil {
		return nil, err
	}
	return s.beginReplay(ctx, c, within)
}

func (s *server) beginReplay(ctx context.Context, c commands.ChangeSink, within domain.SinkReplayRange) (*sinkAnswer, error) {
	result, err := s.Commands.ReplaySink(ctx, commands.ReplaySink{Request: c.Request, Org: c.Org, Sink: c.Sink, SinkReplayRange: within})
	return s.changedSink(ctx, result, err)
}

func (s *server) replayDeadLetters(ctx context.Context, p domain.Principal, in *switchSinkRequest) (*sinkAnswer, error) {
	c, err := s.writableSink(ctx, p, in.SinkWrite)
	if err != nil {
		return nil, err
	}
	return s.beginReplay(ctx, c, domain.SinkReplayRange{DeadLetters: true})
}

type testSinkRequest struct {
	SinkPath
	AfterParam
	Body *struct{} `required:"false"`
}

type sinkAttempt struct{ Body domain.SinkAttempt }

func (s *server) testSink(ctx context.Context, p domain.Principal, in *testSinkRequest) (*sinkAttempt, error) {
	found, err := s.readableSink(ctx, p, in.SinkPath, in.AfterParam)
	if err != nil {
		return nil, err
	}
	release, err := s.admission.acquireFor(ctx, &s.admission.tests, p.Org)
	if err != nil {
		return nil, err
	}
	defer release()
	attempt, err := s.forwarders().TestSink(ctx, found.ID, found.Revision)
	return &sinkAttempt{attempt}, err
}

type sinkAttempts struct {
	Body struct {
		Items []domain.SinkAttempt `json:"items"`
	}
}

func (s *server) listSinkAttempts(ctx context.Context, p domain.Principal, in *readSinkRequest) (*sinkAttempts, error) {
	found, err := s.readableSink(ctx, p, in.SinkPath, in.AfterParam)
	if err != nil {
		return nil, err
	}
	release, err := s.admission.acquireFor(ctx, &s.admission.pages, p.Org)
	if err != nil {
		return nil, err
	}
	defer release()
	attempts, err := s.forwarders().SinkAttempts(ctx, found.ID)
	a := &sinkAttempts{}
	a.Body.Items = orEmpty(attempts)
	return a, err
}

type listDeadLettersRequest struct {
	SinkPath
	AfterParam
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"20"`
	Cursor uint64 `query:"cursor" doc:"next_cursor of the page before."`
}

type deadLetterPage struct {
	Body struct {
		Items      []domain.SinkDeadLetter `json:"items"`
		NextCursor *uint64                 `json:"next_cursor"`
	}
}

// listDeadLetters shows what was sent to those alone who may read the trail, as a read of it.
func (s *server) listDeadLetters(ctx context.Context, p domain.Principal, in *listDeadLettersRequest) (*deadLetterPage, error) {
	found, err := s.readableSink(ctx, p, in.SinkPath, in.AfterParam)
	if err != nil {
		return nil, err
	}
	reader := p.Demand(auditScope) == nil
	if reader {
		if err := s.readTrail(ctx, p, commands.ReadTrail{Access: domain.AccessRejected, Filter: map[string]string{"sink_id": string(found.ID)}}); err != nil {
			return nil, err
		}
	}
	release, err := s.admission.acquireFor(ctx, &s.admission.pages, p.Org)
	if err != nil {
		return nil, err
	}
	defer release()
	letters, err := s.forwarders().SinkDeadLetters(ctx, found.ID, in.Cursor, in.Limit+1)
	if err != nil {
		return nil, err
	}
	page := &deadLetterPage{}
	page.Body.Items = orEmpty(letters[:min(in.Limit, len(letters))])
	if len(letters) > in.Limit {
		page.Body.NextCursor = &letters[in.Limit-1].Position
	}
	for i := range page.Body.Items {
		if !reader {
			page.Body.Items[i].Body = nil
		}
	}
	return page, nil
}

// forwarders is what runs sinks, or refuses.
func (s *server) forwarders() Forwarders {
	if s.Forwarders == nil {
		return noForwarders{}
	}
	return s.Forwarders
}

// noForwarders are those of a process that runs no sinks.
type noForwarders struct{}

func (noForwarders) SinkStatus(context.Context, domain.SinkID) (domain.SinkStatus, error) {
	return domain.SinkStatus{}, nil
}

func (noForwarders) TestSink(context.Context, domain.SinkID, eventstore.Position) (domain.SinkAttempt, error) {
	return domain.SinkAttempt{}, domain.ErrNoForwarders
}

func (noForwarders) SinkAttempts(context.Context, domain.SinkID) ([]domain.SinkAttempt, error) {
	return nil, nil
}

func (noForwarders) SinkDeadLetters(context.Context, domain.SinkID, uint64, int) ([]domain.SinkDeadLetter, error) {
	return nil, nil
}
