package audit

import (
	"context"
	"fmt"

	"github.com/keytrail/keytrail/eventstore"
)

// A Fork is a stream that is shorter than what was signed of it, or differs from that.
type Fork struct {
	Log        uint64
	Stream     eventstore.Stream
	Finding    string     // in a sentence
	Checkpoint Checkpoint // that was signed
}

// A finding is the error that the ledger is not what was signed.
type finding struct{ text string }

func (f *finding) Error() string { return f.text }

func found(format string, args ...any) error { return &finding{fmt.Sprintf(format, args...)} }

// confirmations is how many times a ledger must be found too short, each time after a quorum has
// acknowledged a message: a server that was cut off may lack what the others have.
const confirmations = 3

// ends are those of the stream; a finding if it is shorter than a size that was signed.
func (s *streamSigner) ends(ctx context.Context, size int64) (ends eventstore.Ends, err error) {
	for range confirmations {
		ends, err = s.ledger.Ends(ctx, s.stream)
		if err != nil || ends.Last >= eventstore.Position(size) {
			return ends, err
		}
		if err := s.ledger.Confirm(ctx); err != nil {
			return ends, err
		}
	}
	return ends, found("the stream %s ends at position %d, and %d messages were signed", s.stream, ends.Last, size)
}

// fork notes a fork, tells it once, and has it recorded on the ledger, again and again until it is.
func (s *streamSigner) fork(ctx context.Context, f *Fork) {
	if s.forked == nil {
		s.logger.ErrorContext(ctx, "the ledger is not what was signed: nothing of the stream is signed until keytrail audit renew", "stream", f.Stream.String(), "log", f.Log, "finding", f.Finding)
	}
	s.forked = f
	s.setStatus(func(st *Status) { st.Fork = f.Finding })
	if err := s.reportFork(ctx, *f); err != nil {
		s.logger.WarnContext(ctx, "the fork is not on the ledger yet", "stream", f.Stream.String(), "err", err)
	}
}
