package commands

import (
	"context"
	"encoding/hex"
	"io"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A TrailSigning is what signs the Merkle logs over the trail, as far as commands need it.
type TrailSigning interface {
	// VerifierKeys are those of a generation of keys, by stream.
	VerifierKeys(origin string, generation int) (map[string][]string, error)
	// LastCheckpoints are those of a log, by stream.
	LastCheckpoints(ctx context.Context, log uint64) (map[string]string, error)
}

// onTrailLog carries out a command on the Merkle logs.
func (h *Handler) onTrailLog(ctx context.Context, r Request, decide func(domain.TrailLog) (domain.Event, error)) (TrailLogResult, error) {
	if h.trail == nil {
		return TrailLogResult{}, domain.ErrNoTrailLog
	}
	o, err := executeOnce(ctx, h, eventstore.TrailLogRef(), r, nil, decide)
	return TrailLogResult{Log: o.state, Position: o.position}, err
}

// A TrailLogResult is the Merkle logs after a command.
type TrailLogResult struct {
	Log      domain.TrailLog
	Position eventstore.Position
}

// newTrailLog is what the log after t begins with: an origin that no other log has had, and the
// last checkpoints of t.
func (h *Handler) newTrailLog(ctx context.Context, t domain.TrailLog) (origin string, previous map[string]string, verifiers map[string][]string, err error) {
	var unique [4]byte
	if _, err = io.ReadFull(h.random, unique[:]); err != nil {
		return "", nil, nil, err
	}
	origin = h.trailOrigin + "/" + hex.EncodeToString(unique[:])
	if t.Number > 0 {
		if previous, err = h.trail.LastCheckpoints(ctx, t.Number); err != nil {
			return "", nil, nil, err
		}
	}
	verifiers, err = h.trail.VerifierKeys(origin, 1)
	return origin, previous, verifiers, err
}
