package witness

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/note"

	"github.com/keytrail/keytrail/audit"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/backoff"
)

// A Cosigner has each new checkpoint cosigned by witnesses, and publishes what they sign. Nothing
// waits for it: checkpoints are signed and published whether witnesses answer or not. Each process
// has one; the one that comes first does the work of a round.
type Cosigner struct {
	log       *audit.Log
	witnesses []*asked
	logger    *slog.Logger
	every     time.Duration // about the time between two rounds
	signed    *prometheus.GaugeVec
	failures  *prometheus.CounterVec
}

// An asked witness is waited for longer after each failure.
type asked struct {
	*Client
	sizes    [2]int64 // of the last checkpoint that it signed, as far as is known, by stream
	failures int
	again    time.Time // not before then
}

// roundInterval is that of checkpoints. maxPause bounds the time after which a witness that fails
// is asked again.
const (
	roundInterval = time.Second
	firstPause    = time.Second
	maxPause      = time.Minute
)

// NewCosigner asks witnesses about the checkpoints of log.
func NewCosigner(log *audit.Log, clients []*Client, logger *slog.Logger, to prometheus.Registerer) *Cosigner {
	c := &Cosigner{log: log, logger: logger, every: roundInterval,
		signed: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "keytrail_witness_last_cosignature_timestamp_seconds",
			Help: "When a witness last signed a checkpoint for this process, in seconds since 1970."}, []string{"witness", "stream"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keytrail_witness_failures_total",
			Help: "Requests for a witness's signature that failed."}, []string{"witness"}),
	}
	for _, client := range clients {
		c.witnesses = append(c.witnesses, &asked{Client: client})
		c.failures.WithLabelValues(client.Name)
	}
	to.MustRegister(c.signed, c.failures)
	return c
}

// Run makes a round after the other until ctx ends.
func (c *Cosigner) Run(ctx context.Context) error {
	for backoff.Sleep(ctx, backoff.Jitter(c.every)) == nil {
		for _, s := range eventstore.Streams {
			if err := c.round(ctx, s); err != nil && ctx.Err() == nil {
				c.logger.WarnContext(ctx, "cosignatures cannot be published", "stream", s.String(), "err", err)
			}
		}
	}
	return nil
}

// round has the last checkpoint of a stream cosigned by the witnesses that have not signed it yet.
func (c *Cosigner) round(ctx context.Context, s eventstore.Stream) error {
	last, err := c.log.Checkpoint(ctx, s)
	if errors.Is(err, audit.ErrNoCheckpoint) {
		return nil
	}
	if err != nil {
		return err
	}
	before, err := c.log.Cosigned(ctx, s)
	if err != nil && !errors.Is(err, audit.ErrNoCheckpoint) {
		return err
	}
	var known []note.Signature // of this checkpoint
	if before.Size == last.Size && before.Root == last.Root {
		known = c.knownSignatures(before.Note)
	}
	fresh := c.ask(ctx, s, last, known)
	if len(fresh) == 0 {
		return nil
	}
	cosigned, err := addSignatures(last.Note, append(known, fresh...))
	if err != nil {
		return err
	}
	err = c.log.PutCosigned(ctx, before, cosigned)
	if eventstore.FailureOf(err) == eventstore.Conflict {
		return nil // another process was first
	}
	return err
}

// knownSignatures are those of the witnesses under a checkpoint.
func (c *Cosigner) knownSignatures(checkpoint []byte) []note.Signature {
	var keys []note.Verifier
	for _, w := range c.witnesses {
		keys = append(keys, w.keys...)
	}
	n, err := note.Open(checkpoint, note.VerifierList(keys...))
	if err != nil {
		return nil // they are of other witnesses
	}
	return n.Sigs
}

// addSignatures puts signatures under a checkpoint.
func addSignatures(checkpoint []byte, more []note.Signature) ([]byte, error) {
	text, signatures, _ := bytes.Cut(checkpoint, []byte("\n\n"))
	signed, err := note.Sign(&note.Note{Text: string(text) + "\n", Sigs: more})
	if err != nil {
		return nil, err
	}
	_, lines, _ := bytes.Cut(signed, []byte("\n\n"))
	return bytes.Join([][]byte{text, []byte("\n\n"), signatures, lines}, nil), nil
}

// ask asks all witnesses at once that are due and have not signed the checkpoint.
func (c *Cosigner) ask(ctx context.Context, s eventstore.Stream, last audit.Checkpoint, known []note.Signature) (fresh []note.Signature) {
	var wait sync.WaitGroup
	var mu sync.Mutex
	for _, w := range c.witnesses {
		if w.hasSigned(known) || time.Now().Before(w.again) {
			continue
		}
		wait.Go(func() {
			signatures, err := c.askOne(ctx, w, s, last)
			w.note(err)
			if err != nil {
				c.failed(ctx, w, err)
				return
			}
			c.signed.WithLabelValues(w.Name, s.String()).SetToCurrentTime()
			mu.Lock()
			defer mu.Unlock()
			fresh = append(fresh, signatures...)
		})
	}
	wait.Wait()
	return fresh
}

func (w *asked) hasSigned(known []note.Signature) bool {
	for _, s := range known {
		for _, k := range w.keys {
			if s.Name == k.Name() && s.Hash == k.KeyHash() {
				return true
			}
		}
	}
	return false
}

// askOne asks again if the witness knows another size than this process does.
func (c *Cosigner) askOne(ctx context.Context, w *asked, s eventstore.Stream, last audit.Checkpoint) ([]note.Signature, error) {
	for range 2 {
		old := min(w.sizes[s], last.Size)
		proof, err := c.log.Consistency(ctx, last, old)
		if err != nil {
			return nil, err
		}
		signatures, err := w.ask(ctx, last, old, proof)
		var other *conflict
		if !errors.As(err, &other) {
			if err == nil {
				w.sizes[s] = last.Size
			}
			return signatures, err
		}
		if w.sizes[s] = other.size; other.size > last.Size {
			return nil, c.compareSize(ctx, s, other.size)
		}
	}
	return nil, nil // another process asks it
}

var errLonger = errors.New("it has signed a longer log: was the ledger set back?")

// compareSize is nil if the log has a size that a witness knows: another process is ahead.
func (c *Cosigner) compareSize(ctx context.Context, s eventstore.Stream, size int64) error {
	last, err := c.log.Checkpoint(ctx, s)
	if err == nil && last.Size < size {
		err = errLonger
	}
	return err
}

// note sets when the witness is due again.
func (w *asked) note(err error) {
	if err == nil {
		w.failures = 0
		return
	}
	w.failures++
	w.again = time.Now().Add(backoff.Jitter(min(maxPause, firstPause<<min(w.failures, 10))))
}

// failed tells of a failure: in the log, of the first one in a row.
func (c *Cosigner) failed(ctx context.Context, w *asked, err error) {
	if ctx.Err() != nil {
		return
	}
	c.failures.WithLabelValues(w.Name).Inc()
	if w.failures == 1 {
		c.logger.WarnContext(ctx, "a witness does not sign; it is asked again, and checkpoints go on without it", "witness", w.Name, "err", err)
	}
}
