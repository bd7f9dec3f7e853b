package eventstore

import (
	"context"
	"time"

	"github.com/keytrail/keytrail/internal/backoff"
)

// Deadline is how long an append or a load is tried when its caller sets no earlier end.
// The election after the loss of a leader took 4 to 9 s on a cluster of three.
const Deadline = 12 * time.Second

// tryTimeout bounds one try: a server that is gone or frozen gives no answer, while another
// one that took its place would.
const tryTimeout = time.Second

// The pauses between two tries: they double from the first to the longest.
const (
	firstPause   = 20 * time.Millisecond
	longestPause = tryTimeout / 2
)

// retry tries ask until it succeeds, is refused or conflicts, or ctx or Deadline ends. Its
// error is classified.
func retry(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, Deadline)
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := try(ctx, ask)
		if err == nil || decided(err) {
			return err
		}
		if backoff.Sleep(ctx, backoff.Jitter(pause)) != nil {
			return err
		}
	}
}

// decided reports whether an error is the answer, whatever is tried again.
func decided(err error) bool { return FailureOf(err) == Conflict || FailureOf(err) == Refused }

// try asks once, for tryTimeout at most.
func try(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	return classify(ask(ctx))
}
