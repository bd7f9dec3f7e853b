package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keytrail/keytrail/audit"
	"github.com/keytrail/keytrail/audit/evidence"
	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// prove answers what shows that one event, or one use, was logged. What the caller may not see is
// answered like what there is not.
func (s *server) prove(w http.ResponseWriter, r *http.Request, p domain.Principal) error {
	if s.Merkle == nil {
		return domain.ErrNoTrailLog
	}
	ctx := r.Context()
	at, err := parseIdentity(r.PathValue("position"))
	if err != nil {
		return err
	}
	if err := s.readTrail(ctx, p, commands.ReadTrail{Access: domain.AccessProof, Filter: map[string]string{"position": r.PathValue("position")}}); err != nil {
		return err
	}
	proof, err := s.proofOf(ctx, p.Reach(), at)
	if err != nil {
		return err
	}
	if err := s.include(ctx, proof, at); err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, proof)
	return nil
}

// An identity is the place of one event or use: 17, or 17.3.
type identity struct {
	stream   eventstore.Stream
	position eventstore.Position
	index    int // of a use in its message
}

func parseIdentity(text string) (at identity, err error) {
	refusal := domain.InvalidField("position", "must be an event's position, like 17, or a use's, like 17.3")
	position, index, isUse := strings.Cut(text, ".")
	n, err := strconv.ParseUint(position, 10, 63)
	if err != nil || n == 0 {
		return at, refusal
	}
	at.position = eventstore.Position(n)
	if isUse {
		at.stream = eventstore.Uses
		if at.index, err = strconv.Atoi(index); err != nil || at.index < 0 {
			return at, refusal
		}
	}
	return at, nil
}

// proofOf is the proof of what is at a place within reach, still without its log's.
func (s *server) proofOf(ctx context.Context, reach domain.Reach, at identity) (*evidence.Proof, error) {
	m, err := s.Ledger.Message(ctx, at.stream, at.position)
	if errors.Is(err, eventstore.ErrNoSuchPosition) {
		return nil, s.noSuchPlace(ctx, at)
	}
	if err != nil {
		return nil, err
	}
	if at.stream == eventstore.Events {
		if !reach.Includes(eventstore.OrgOf(m.Subject)) {
			return nil, domain.ErrPositionNotFound
		}
		return evidence.ProveEvent(&m), nil
	}
	tree, err := eventstore.NewUseTree(&m)
	if err != nil {
		return nil, err
	}
	if at.index >= len(tree.Lines) {
		return nil, domain.ErrPositionNotFound
	}
	if org, err := eventstore.UseOrg(tree.Lines[at.index]); err != nil || !reach.Includes(org) {
		return nil, errors.Join(domain.ErrPositionNotFound, err)
	}
	return evidence.ProveUse(&m, tree, at.index), nil
}

// noSuchPlace tells a use that has aged out from what never was.
func (s *server) noSuchPlace(ctx context.Context, at identity) error {
	ends, err := s.Ledger.Ends(ctx, at.stream)
	if err == nil && at.stream == eventstore.Uses && at.position < ends.First {
		return domain.ErrUseGone
	}
	return errors.Join(domain.ErrPositionNotFound, err)
}

// include puts in what proves the message of a proof: of a checkpoint that has it.
func (s *server) include(ctx context.Context, proof *evidence.Proof, at identity) error {
	c, err := s.Merkle.Covering(ctx, at.stream, int64(at.position)-1)
	if errors.Is(err, audit.ErrNoCheckpoint) {
		return domain.ErrNotSignedYet
	}
	if err != nil {
		return err
	}
	t, err := s.Merkle.Current(ctx)
	if err != nil {
		return err
	}
	inclusion, err := s.Merkle.Inclusion(ctx, c, int64(at.position)-1, c.Size)
	if err != nil {
		return err
	}
	proof.Complete(tlog.RecordProof(inclusion), c.Note, verifiersOf(t, at.stream))
	return nil
}

// verifiersOf are all keys of a stream's log, those that no longer sign among them: they have
// signed what older evidence has.
func verifiersOf(t domain.TrailLog, streams ...eventstore.Stream) (keys []string) {
	for _, stream := range streams {
		for _, k := range t.Keys {
			keys = append(keys, k.Verifiers[stream.String()]...)
		}
	}
	return keys
}

func (s *server) documentProof() description {
	return description{summary: "Prove one event or use", details: "What shows that it was logged, to be checked without the service: keytrail audit verify, or docs/audit.md. " +
		"The position is an event's, like 17, or a use's, like 17.3.", answer: s.jsonAnswer(evidence.Proof{})}
}
