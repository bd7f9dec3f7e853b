package api

import (
	"context"
	"encoding/base64"
	"errors"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/audit"
	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A TrailLog is the Merkle logs over the trail as the API shows them.
type TrailLog struct {
	Number  uint64             `json:"number" doc:"A restoration, and a renewal, begin the next."`
	Reason  domain.TrailReason `json:"reason" doc:"Why it began: installed, restored or renewed."`
	BeganAt time.Time          `json:"began_at"`
	Streams []StreamLog        `json:"streams"`
	Earlier []string           `json:"earlier" doc:"The origins of the logs before, the newest first, without the stream."`
}

// A StreamLog is the log over one stream.
type StreamLog struct {
	Stream       string      `json:"stream" enum:"events,uses"`
	Origin       string      `json:"origin" doc:"What its checkpoints name."`
	Size         uint64      `json:"size" doc:"Messages of the stream."`
	SignedSize   int64       `json:"signed_size" doc:"Those of the last checkpoint."`
	Root         string      `json:"root,omitempty" doc:"Of the last checkpoint, in base64."`
	SignedAt     *time.Time  `json:"signed_at" nullable:"true" doc:"When the last checkpoint was published; null: none was."`
	MinimumIndex int64       `json:"minimum_index" doc:"Entries before it have aged out; their hashes stay."`
	Forked       bool        `json:"forked" doc:"The stream is not what was signed of it: no checkpoint is signed until the log is renewed."`
	Keys         []TrailKeys `json:"keys" doc:"Those that sign or have signed, the newest first."`
}

// TrailKeys are a generation of the keys of a log.
type TrailKeys struct {
	Generation int        `json:"generation"`
	Until      *time.Time `json:"until" nullable:"true" doc:"They sign up to then; null: with no end yet."`
	Verifiers  []string   `json:"verifier_keys" doc:"As signed notes have them."`
}

type trailLogAnswer struct{ Body TrailLog }

// readTrailLog tells what was signed, and of how much.
func (s *server) readTrailLog(ctx context.Context, _ domain.Principal, _ *struct{}) (*trailLogAnswer, error) {
	t, err := s.currentLog(ctx)
	if err != nil {
		return nil, err
	}
	a := &trailLogAnswer{TrailLog{Number: t.Number, Reason: t.Reason, BeganAt: t.Began, Earlier: orEmpty(t.Earlier)}}
	for _, stream := range eventstore.Streams {
		one, err := s.streamLog(ctx, t, stream)
		if err != nil {
			return nil, err
		}
		a.Body.Streams = append(a.Body.Streams, one)
	}
	return a, nil
}

// currentLog is what the ledger says of the Merkle logs.
func (s *server) currentLog(ctx context.Context) (domain.TrailLog, error) {
	if s.Merkle == nil {
		return domain.TrailLog{}, domain.ErrNoTrailLog
	}
	return s.Merkle.Current(ctx)
}

func (s *server) streamLog(ctx context.Context, t domain.TrailLog, stream eventstore.Stream) (StreamLog, error) {
	ends, err := s.Ledger.Ends(ctx, stream)
	if err != nil {
		return StreamLog{}, err
	}
	one := StreamLog{Stream: stream.String(), Origin: audit.Origin(t, stream), Size: uint64(ends.Last), Forked: t.Forks[stream.String()], MinimumIndex: minimumIndex(ends)}
	for _, k := range t.Keys {
		shown := TrailKeys{Generation: k.Generation, Verifiers: k.Verifiers[stream.String()]}
		if !k.Until.IsZero() {
			shown.Until = &k.Until
		}
		one.Keys = append(one.Keys, shown)
	}
	c, err := s.Merkle.Checkpoint(ctx, stream)
	if errors.Is(err, audit.ErrNoCheckpoint) {
		return one, nil
	}
	one.SignedSize, one.Root, one.SignedAt = c.Size, base64.StdEncoding.EncodeToString(c.Root[:]), &c.Published
	return one, err
}

// RenewTrailBody says why the logs are renewed.
type RenewTrailBody struct {
	Comment string `json:"comment" doc:"Why, for those who ask later."`
}

// TransformSchema states the bound of the comment.
func (RenewTrailBody) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return bounded[commands.RenewTrail](r, s)
}

type renewTrailRequest struct {
	WriteHeaders
	Body RenewTrailBody
}

// renewTrail begins the next logs.
func (s *server) renewTrail(ctx context.Context, p domain.Principal, in *renewTrailRequest) (*trailLogAnswer, error) {
	if _, err := s.Commands.RenewTrail(ctx, commands.RenewTrail{Request: in.request, Comment: in.Body.Comment}); err != nil {
		return nil, err
	}
	return s.readTrailLog(ctx, p, nil)
}

// RotateTrailKeysBody says for how long the keys before sign as well.
type RotateTrailKeysBody struct {
	Overlap domain.Duration `json:"overlap" doc:"How long the keys before sign as well, like 720h."`
}

// TransformSchema states the bound of the overlap.
func (RotateTrailKeysBody) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return bounded[commands.RotateTrailKeys](r, s)
}

type rotateTrailKeysRequest struct {
	WriteHeaders
	Body RotateTrailKeysBody
}

// rotateTrailKeys makes new keys sign.
func (s *server) rotateTrailKeys(ctx context.Context, p domain.Principal, in *rotateTrailKeysRequest) (*trailLogAnswer, error) {
	if _, err := s.Commands.RotateTrailKeys(ctx, commands.RotateTrailKeys{Request: in.request, Overlap: in.Body.Overlap}); err != nil {
		return nil, err
	}
	return s.readTrailLog(ctx, p, nil)
}
