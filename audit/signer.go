package audit

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/note"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/backoff"
)

// Options of a signer. Those below Dir may be left out.
type Options struct {
	Ledger     *eventstore.Ledger
	Log        *Log
	Keys       Keys
	ReportFork func(context.Context, Fork) error // has it recorded on the ledger, once
	Dir        string                            // the second place of checkpoints

	Every   time.Duration // between two passes; 0: a second
	Logger  *slog.Logger
	Metrics prometheus.Registerer // nil: none
}

// defaultEvery is how often a signer looks for what has come, and so the shortest time between two
// of its checkpoints: signing and writing one takes about a millisecond.
const defaultEvery = time.Second

// A Signer signs the logs over both streams. Several processes may run one: the ledger takes one
// checkpoint after another, each of which names the one before it.
type Signer struct {
	ledger     *eventstore.Ledger
	log        *Log
	keys       Keys
	reportFork func(context.Context, Fork) error
	dir        string
	every      time.Duration
	logger     *slog.Logger
	streams    [len(eventstore.Streams)]*streamSigner
	unhashed   *prometheus.CounterVec
}

// NewSigner is a signer that Run makes sign.
func NewSigner(o Options) *Signer {
	if o.Every == 0 {
		o.Every = defaultEvery
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Signer{ledger: o.Ledger, log: o.Log, keys: o.Keys, reportFork: o.ReportFork, dir: o.Dir, every: o.Every, logger: o.Logger}
	for _, stream := range eventstore.Streams {
		s.streams[stream] = &streamSigner{Signer: s, stream: stream, status: Status{Stream: stream}}
	}
	s.measure(o.Metrics)
	return s
}

// Run signs until ctx ends.
func (s *Signer) Run(ctx context.Context) error {
	var tasks sync.WaitGroup
	for _, one := range s.streams {
		tasks.Go(func() { one.run(ctx) })
		tasks.Go(func() { one.scrubDaily(ctx) })
	}
	tasks.Wait()
	return nil
}

// A streamSigner signs the log over one stream. What it knows follows from the ledger and the
// second place, where it is read again after a restart. One goroutine uses it; status is shared.
type streamSigner struct {
	*Signer
	stream eventstore.Stream

	number    uint64     // of the log that the rest is about; 0: none yet
	signed    Checkpoint // the last one that is known: what is signed next begins with it
	tree      *tree      // that of signed; nil: it is read from the tiles
	tiles     tileWriter
	foreign   time.Time     // when a checkpoint of another process came
	published time.Time     // when this process's last one was put
	forked    *Fork         // not nil: nothing is signed
	signers   []note.Signer // of the generations keysOf
	keysOf    []int

	mu        sync.Mutex
	status    Status
	discovery error // of a scrub, for the next pass: a finding, or errDamaged
}

func (s *streamSigner) run(ctx context.Context) {
	failing := false
	for ctx.Err() == nil {
		begun := time.Now()
		err := s.pass(ctx)
		if err != nil && !failing && ctx.Err() == nil { // once, not each second
			s.logger.WarnContext(ctx, "no checkpoint could be signed; will try again", "stream", s.stream.String(), "err", err)
		}
		failing = err != nil
		_ = backoff.Sleep(ctx, s.every-time.Since(begun)) // the loop's condition says why it ended
	}
}

// pass signs what has come since the last checkpoint. Its steps are in this order:
//
//  1. What the ledger says of the log, its keys and forks.
//  2. The last checkpoint, another process's perhaps, is compared with the last one known here.
//  3. The leaves of what has come are added to the tree.
//  4. The tiles that changed are put. A crash leaves tiles that are wider than the checkpoint.
//  5. The checkpoint is put if it is still the same one that it follows.
//  6. It is put into the second place. A crash before that leaves an older one there.
//
// A finding in any of them is a fork.
func (s *streamSigner) pass(ctx context.Context) error {
	t, err := s.log.Current(ctx)
	if err != nil || t.Number == 0 {
		return err
	}
	if t.Number != s.number {
		s.reset(t)
	}
	switch {
	case t.Forks[s.stream.String()]:
		s.setStatus(func(st *Status) { st.Fork = "recorded on the ledger" })
		return nil
	case s.forked != nil:
		s.fork(ctx, s.forked) // it was not recorded yet
		return nil
	}
	err = s.sign(ctx, t)
	var f *finding
	if errors.As(err, &f) {
		s.fork(ctx, &Fork{s.number, s.stream, f.text, s.signed})
		return nil
	}
	if errors.Is(err, errOvertaken) {
		s.foreign = time.Now()
		return nil
	}
	return err
}

// reset begins with another log.
func (s *streamSigner) reset(t domain.TrailLog) {
	s.number, s.signed, s.tree, s.foreign, s.forked, s.keysOf = t.Number, Checkpoint{revision: unread}, nil, time.Time{}, nil, nil
	s.tiles = tileWriter{ledger: s.ledger, log: t.Number, stream: s.stream}
	s.setStatus(func(st *Status) { *st = Status{Stream: s.stream, Log: t.Number} })
}

// unread is the revision of the last checkpoint before it was read for the first time.
const unread = ^eventstore.Position(0)

func (s *streamSigner) sign(ctx context.Context, t domain.TrailLog) error {
	discovery := s.takeDiscovery()
	if discovery != nil && !errors.Is(discovery, errDamaged) {
		return discovery
	}
	if err := s.catchUp(ctx, t); err != nil {
		return err
	}
	if discovery != nil {
		return s.recompute(ctx, s.signed, s.signed)
	}
	ends, err := s.ends(ctx, s.signed.Size)
	if err != nil {
		return err
	}
	s.setStatus(func(st *Status) { st.Size, st.First = int64(ends.Last), ends.First })
	if ends.Last == eventstore.Position(s.signed.Size) || s.leftToOther() {
		return nil
	}
	return s.extend(ctx, t, ends)
}

// A process leaves signing to another one for so many passes after that has signed: it would work
// for nothing.
const takeOver = 3

func (s *streamSigner) leftToOther() bool {
	return !s.foreign.IsZero() && time.Since(s.foreign) < takeOver*s.every
}

// catchUp makes signed the last checkpoint that was published, after comparing the two.
func (s *streamSigner) catchUp(ctx context.Context, t domain.TrailLog) error {
	first := s.signed.revision == unread
	if first {
		kept, err := s.kept(t)
		s.signed = kept // the finding is about it
		if s.signed.revision = unread; err != nil {
			return err
		}
	}
	last, err := s.last(ctx)
	if err != nil || last.revision == s.signed.revision {
		return err
	}
	if age := time.Since(last.Published); !first || age >= 0 && age < takeOver*s.every {
		s.foreign = time.Now()
	}
	if err := s.compare(ctx, t, last); err != nil {
		return err
	}
	return s.adopt(last)
}

// last is the last checkpoint that was published; one of revision 0 if none was. It is not older
// than signed, unless a quorum says so: a server that was cut off may lack what the others have.
func (s *streamSigner) last(ctx context.Context) (last Checkpoint, err error) {
	for range confirmations {
		last, err = s.log.checkpointOf(ctx, s.number, s.stream)
		if errors.Is(err, ErrNoCheckpoint) {
			last, err = Checkpoint{log: s.number, stream: s.stream}, nil
		}
		if err != nil || s.signed.revision == unread || last.revision >= s.signed.revision {
			return last, err
		}
		if err := s.ledger.Confirm(ctx); err != nil {
			return last, err
		}
	}
	return last, nil
}

// compare is a finding if last is not a checkpoint of this log that continues signed.
func (s *streamSigner) compare(ctx context.Context, t domain.TrailLog, last Checkpoint) error {
	if last.Size > 0 {
		if err := s.verify(t, last); err != nil {
			return err
		}
	}
	if s.signed.Size == 0 {
		return nil
	}
	if last.Size >= s.signed.Size {
		root, err := s.log.RootAt(ctx, last, s.signed.Size)
		if err == nil && root == s.signed.Root {
			return nil
		}
	}
	// The tiles do not prove it. The ledger has the last word, and must have both.
	return s.recompute(ctx, s.signed, last)
}

// verify is a finding if none of the log's keys has signed c.
func (s *streamSigner) verify(t domain.TrailLog, c Checkpoint) error {
	var vkeys []string
	for _, k := range t.Keys {
		vkeys = append(vkeys, k.Verifiers[s.stream.String()]...)
	}
	verifiers, err := Verifiers(vkeys)
	if err != nil {
		return err
	}
	if _, err := OpenCheckpoint(c.Note, verifiers...); err != nil || c.Origin != Origin(t, s.stream) {
		return found("the last checkpoint of %s is not signed by the log's keys", s.stream)
	}
	return nil
}

// adopt makes c, which was published, the one that the next follows.
func (s *streamSigner) adopt(c Checkpoint) error {
	if s.tree != nil && s.tree.size != c.Size {
		s.tree = nil
	}
	longer := c.Size > s.signed.Size
	s.signed = c
	s.setStatus(func(st *Status) { st.SignedSize, st.SignedAt, st.Mine = c.Size, c.Published, false })
	if !longer {
		return nil
	}
	return s.keep(c)
}

// extend adds what has come to the tree and signs it.
func (s *streamSigner) extend(ctx context.Context, t domain.TrailLog, ends eventstore.Ends) error {
	if err := s.loadTree(ctx); err != nil {
		return err
	}
	tree := s.tree.clone()
	last := min(ends.Last, eventstore.Position(tree.size)+eventstore.Position(maxLeaves))
	s.tiles.full = nil
	if err := s.grow(ctx, tree, last, s.tiles.add); err != nil {
		return err
	}
	if err := s.tiles.flush(ctx, tree, s.isLast); err != nil {
		return err
	}
	next, err := s.publish(ctx, t, tree)
	if err != nil {
		return err
	}
	s.tree = tree
	err = s.adopt(next)
	s.setStatus(func(st *Status) { st.Mine = true })
	return err
}

// errOvertaken tells that another process has published a checkpoint meanwhile.
var errOvertaken = errors.New("another process signs")

// isLast is errOvertaken if signed is no longer the last checkpoint.
func (s *streamSigner) isLast(ctx context.Context) error {
	last, err := s.last(ctx)
	if err == nil && last.revision != s.signed.revision {
		err = errOvertaken
	}
	return err
}

// publish signs a tree whose tiles are on the ledger, and puts the checkpoint after the last one.
func (s *streamSigner) publish(ctx context.Context, t domain.TrailLog, tree *tree) (Checkpoint, error) {
	if err := s.loadSigners(t); err != nil {
		return Checkpoint{}, err
	}
	c, err := sign(Origin(t, s.stream), tree, s.signers)
	if err == nil {
		err = backoff.Sleep(ctx, s.every-time.Since(s.published))
	}
	if err != nil {
		return c, err
	}
	s.published = time.Now()
	c.log, c.stream, c.Published = s.number, s.stream, s.published
	ref := eventstore.CheckpointRef(s.number, s.stream)
	c.revision, err = s.ledger.PutTile(ctx, ref, s.signed.revision, c.Note)
	if errors.Is(err, eventstore.ErrConflict) { // with an earlier try of its own, perhaps
		last, failure := s.log.checkpointOf(ctx, s.number, s.stream)
		if failure == nil && string(last.Note) == string(c.Note) {
			return last, nil
		}
		return c, errors.Join(errOvertaken, failure)
	}
	return c, err
}

// loadSigners derives the keys that sign at the moment.
func (s *streamSigner) loadSigners(t domain.TrailLog) error {
	var generations []int
	for _, k := range t.SigningKeys(time.Now()) {
		generations = append(generations, k.Generation)
	}
	if slices.Equal(generations, s.keysOf) {
		return nil
	}
	s.signers, s.keysOf = nil, nil
	for _, k := range t.SigningKeys(time.Now()) {
		derived, err := s.keys.Verifiers(t.Origin, k.Generation)
		if err != nil {
			return err
		}
		if !slices.Equal(derived[s.stream.String()], k.Verifiers[s.stream.String()]) {
			continue // those of a keyring that was replaced
		}
		signers, err := s.keys.signers(Origin(t, s.stream), k.Generation)
		if err != nil {
			return err
		}
		s.signers = append(s.signers, signers...)
	}
	if len(s.signers) == 0 {
		return errKeys
	}
	s.keysOf = generations
	return nil
}

// errKeys tells that nothing may be signed here.
var errKeys = errors.New("the log's keys are not derived from this keyring")
