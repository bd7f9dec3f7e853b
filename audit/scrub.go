package audit

import (
	"context"
	"errors"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/backoff"
)

// A scrub reads all that the ledger still has of what was signed, and compares it: a change of old
// messages is found without an auditor. The process that signs does it, at its start and then daily.
const (
	scrubEvery = 24 * time.Hour
	scrubLooks = time.Minute // how often a process looks whether it is the one that signs

	// scrubRest is how many times as long as a piece took is waited before the next one. A message
	// has one use or thousands: a bound of messages a second would be none of processor time.
	scrubRest  = 100
	scrubPiece = tileWidth
)

// scrubDaily scrubs the stream while this process signs it.
func (s *streamSigner) scrubDaily(ctx context.Context) {
	var last time.Time
	for backoff.Sleep(ctx, min(scrubLooks, 5*s.every)) == nil {
		if !s.signs() || !last.IsZero() && time.Since(last) < scrubEvery {
			continue
		}
		err := s.scrub(ctx)
		switch {
		case errors.As(err, new(*finding)), errors.Is(err, errDamaged):
			s.discover(err)
		case err != nil && ctx.Err() == nil:
			s.logger.WarnContext(ctx, "what was signed could not be compared with the ledger; will try again", "stream", s.stream.String(), "err", err)
			continue
		}
		last = time.Now()
	}
}

// signs reports whether this process has put the last checkpoint that it knows.
func (s *streamSigner) signs() bool {
	st := s.readStatus()
	return st.Mine && st.Fork == ""
}

// discover leaves what a scrub has found for the next pass: a finding stops signing, and damaged
// tiles are mended.
func (s *streamSigner) discover(what error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.discovery = what
}

func (s *streamSigner) takeDiscovery() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	what := s.discovery
	s.discovery = nil
	return what
}

// errDamaged tells that tiles are not those of the last checkpoint.
var errDamaged = errors.New("tiles are damaged")

// scrub compares each message with its hash in the log, which the last checkpoint proves.
func (s *streamSigner) scrub(ctx context.Context) error {
	c, err := s.log.Checkpoint(ctx, s.stream)
	if errors.Is(err, ErrNoCheckpoint) {
		return nil
	}
	if err != nil {
		return err
	}
	ends, err := s.ledger.Ends(ctx, s.stream)
	if err != nil {
		return err
	}
	for after := ends.First - 1; after < eventstore.Position(c.Size); {
		begun := time.Now()
		through := min(after+scrubPiece, eventstore.Position(c.Size))
		if err := s.compareMessages(ctx, c, after, through); err != nil {
			return err
		}
		if after = through; backoff.Sleep(ctx, scrubRest*time.Since(begun)) != nil {
			return ctx.Err()
		}
	}
	return nil
}

// compareMessages compares the messages after a position up to through.
func (s *streamSigner) compareMessages(ctx context.Context, c Checkpoint, after, through eventstore.Position) error {
	var indexes []int64
	for i := int64(after); i < int64(through); i++ {
		indexes = append(indexes, tlog.StoredHashIndex(0, i))
	}
	reader := hashReader{ctx: ctx, ledger: s.ledger, of: c, full: newTileCache(16)} // the log's cache would hide damage
	hashes, err := reader.ReadHashes(indexes)
	if err != nil && !errors.Is(err, domain.ErrLedgerUnavailable) && ctx.Err() == nil {
		s.logger.ErrorContext(ctx, "tiles are damaged and will be computed again", "stream", s.stream.String(), "after", after, "through", through, "err", err)
		return errDamaged
	}
	if err != nil {
		return err
	}
	return s.ledger.Copy(ctx, s.stream, after, through, func(m *eventstore.Raw) error {
		if want := eventstore.Hash(hashes[m.Position-after-1]); !s.isMessage(ctx, m, want) {
			return found("the message at position %d of %s is not the one that was signed", m.Position, s.stream)
		}
		return nil
	})
}

// isMessage reports whether m has a hash. One that does not is asked for again, from the stream's leader.
func (s *streamSigner) isMessage(ctx context.Context, m *eventstore.Raw, want eventstore.Hash) bool {
	leaf, err := eventstore.NewLeaf(s.stream, m)
	if err == nil && leaf.Hash() == want {
		return true
	}
	again, err := s.ledger.Message(ctx, s.stream, m.Position)
	if err != nil {
		return true // it cannot be read now, or has aged out: the next scrub tells
	}
	leaf, err = eventstore.NewLeaf(s.stream, &again)
	return err == nil && leaf.Hash() == want
}
