package eventstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/domain"
)

// Options of a ledger. The zero value is one replica and uses kept for 400 days.
type Options struct {
	Replicas     int
	UsesMaxAge   time.Duration
	UsesMaxBytes int64 // 0: no limit
	Unconfirmed  bool  // open a restored ledger that nobody has confirmed yet, to mend it
	Logger       *slog.Logger
	Metrics      prometheus.Registerer // nil: none
}

const defaultUsesMaxAge = 400 * 24 * time.Hour

// A Ledger appends to and reads the two streams. It is safe for concurrent use.
type Ledger struct {
	js      jetstream.JetStream
	streams [2]jetstream.Stream
	log     *slog.Logger
	latency *prometheus.HistogramVec
	errors  *prometheus.CounterVec
	held    atomic.Pointer[error]
}

// Open creates the streams that are missing and checks those that exist.
func Open(ctx context.Context, nc *nats.Conn, o Options) (*Ledger, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	l := &Ledger{js: js, log: o.Logger, latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "keytrail_ledger_append_seconds", Help: "Time until an append was acknowledged.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
	}, []string{"stream"}), errors: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keytrail_ledger_append_errors_total", Help: "Appends that failed for good or at their deadline, by what is known of them.",
	}, []string{"stream", "failure"})}
	for _, want := range configs(o) {
		s, err := l.open(ctx, want, o.Unconfirmed)
		if err != nil {
			return nil, fmt.Errorf("open stream %s: %w", want.Name, err)
		}
		if want.Name == Events.name() {
			l.streams[Events] = s
		} else {
			l.streams[Uses] = s
		}
	}
	if o.Metrics != nil {
		o.Metrics.MustRegister(l.latency, l.errors)
	}
	return l, nil
}

func configs(o Options) []jetstream.StreamConfig {
	if o.UsesMaxAge == 0 {
		o.UsesMaxAge = defaultUsesMaxAge
	}
	if o.UsesMaxBytes == 0 {
		o.UsesMaxBytes = -1
	}
	return []jetstream.StreamConfig{
		{
			Name: Events.name(), Subjects: []string{Events.root() + ">"}, Storage: jetstream.FileStorage,
			Replicas: max(1, o.Replicas), DenyDelete: true, DenyPurge: true, Retention: jetstream.LimitsPolicy,
			MaxMsgs: -1, MaxBytes: -1, Discard: jetstream.DiscardNew,
		},
		{
			Name: Uses.name(), Subjects: []string{Uses.root() + ">"}, Storage: jetstream.FileStorage,
			Replicas: max(1, o.Replicas), DenyDelete: true, Retention: jetstream.LimitsPolicy,
			MaxMsgs: -1, MaxBytes: o.UsesMaxBytes, MaxAge: o.UsesMaxAge, Discard: jetstream.DiscardOld,
		},
	}
}

func (l *Ledger) open(ctx context.Context, want jetstream.StreamConfig, unconfirmed bool) (jetstream.Stream, error) {
	s, err := l.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return l.js.CreateStream(ctx, want)
	}
	if err != nil {
		return nil, err
	}
	have := s.CachedInfo().Config
	if err := checkRestored(have, unconfirmed); err != nil {
		return nil, err
	}
	if state := have.Metadata[restoreState]; state != "" {
		l.log.WarnContext(ctx, "this ledger was restored from a back-up", "stream", want.Name, "restored", state)
	}
	if err := check(have, want); err != nil {
		return nil, err
	}
	if have.Replicas < want.Replicas {
		l.log.WarnContext(ctx, "stream has fewer replicas than asked for", "stream", want.Name, "have", have.Replicas, "want", want.Replicas)
	}
	if have.MaxAge != want.MaxAge || have.MaxBytes != want.MaxBytes {
		have.MaxAge, have.MaxBytes = want.MaxAge, want.MaxBytes
		return l.js.UpdateStream(ctx, have)
	}
	return s, nil
}

// check refuses a stream that could lose or rewrite what it holds.
func check(have, want jetstream.StreamConfig) error {
	switch {
	case have.Storage != jetstream.FileStorage:
		return errors.New("it keeps its messages in memory; the ledger needs file storage")
	case have.Retention != jetstream.LimitsPolicy:
		return errors.New("it discards what was read; the ledger needs limits retention")
	case !have.DenyDelete:
		return errors.New("it lets messages be deleted; set deny_delete")
	case have.PersistMode == jetstream.AsyncPersistMode:
		return errors.New("it acknowledges before it writes; the ledger needs the default persist mode")
	case have.Name == Uses.name():
		return nil
	case !have.DenyPurge:
		return errors.New("it can be purged; set deny_purge")
	case have.AllowRollup || have.MaxAge != 0 || have.MaxMsgs > 0 || have.MaxBytes > 0 || have.MaxMsgsPerSubject > 0:
		return errors.New("it is limited by age, number, size or roll-up and would drop events; take the limits away")
	}
	_ = want
	return nil
}

// Append writes e after the aggregate's event at position after, 0: as its first. It is
// repeated under one message id until it is answered; FailureOf classifies its error. An
// earlier try that was written although its answer was lost makes the next one a conflict
// on one replica, and a success on three.
func (l *Ledger) Append(ctx context.Context, ref Ref, after Position, c Command, e domain.Event) (Position, error) {
	if err := l.Held(); err != nil {
		return 0, err
	}
	m, err := Message(ref, c, e)
	if err != nil {
		return 0, &failed{Refused, err}
	}
	p, err := l.publish(ctx, Events, m, jetstream.WithExpectLastSequencePerSubject(uint64(after)))
	if err != nil {
		return 0, fmt.Errorf("append %s to %s after %d: %w", e.EventType(), ref, after, err)
	}
	return p, nil
}

// AppendUses writes b as one message.
func (l *Ledger) AppendUses(ctx context.Context, org domain.OrgID, b *UseBatch) (Position, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return 0, err
	}
	return l.publish(ctx, Uses, usesMessage(org, id.String(), b))
}

// AppendRefused writes a summary of refused credentials into the uses stream.
func (l *Ledger) AppendRefused(ctx context.Context, org domain.OrgID, e domain.CredentialsRefused) (Position, error) {
	m, err := message(Uses.root()+string(org), org, "", Uses, Command{Actor: e.Principal}, e)
	if err != nil {
		return 0, &failed{Refused, err}
	}
	return l.publish(ctx, Uses, m)
}

// publish appends m, whose message id makes repeating it safe: the streams' duplicate
// window is longer than Deadline.
func (l *Ledger) publish(ctx context.Context, s Stream, m *nats.Msg, opts ...jetstream.PublishOpt) (p Position, err error) {
	opts = append(opts, jetstream.WithRetryAttempts(0)) // insist repeats
	start := time.Now()
	err = insist(ctx, func(ctx context.Context) error {
		ack, err := l.js.PublishMsg(ctx, m, opts...)
		if err == nil {
			p = Position(ack.Sequence)
		}
		return err
	})
	l.latency.WithLabelValues(s.String()).Observe(time.Since(start).Seconds())
	if err != nil {
		l.errors.WithLabelValues(s.String(), FailureOf(err).String()).Inc()
	}
	return p, err
}

// maxSingleReads is how many events of a history are read one by one, at 50 µs each in
// process, before a consumer is made for the rest: that costs a millisecond or more, and
// then a few microseconds an event.
var maxSingleReads = 32

// Load gives the events of one aggregate after a position to each, oldest first. end is the
// position of the last one, or after if there is none; on an error too, so that a load can
// go on where another one stopped. The end is asked of the stream's leader.
func (l *Ledger) Load(ctx context.Context, ref Ref, after Position, each func(Record)) (end Position, err error) {
	ctx, cancel := context.WithTimeout(ctx, Deadline)
	defer cancel()
	end = after
	for {
		for range maxSingleReads {
			next, err := l.next(ctx, ref, end)
			if errors.Is(err, ErrNoSuchPosition) {
				return end, nil
			}
			if err != nil {
				return end, fmt.Errorf("load %s: %w", ref, err)
			}
			each(next)
			end = next.Position
		}
		// What the consumer leaves out, because its server lags or cannot be reached or an
		// event is not understood, is read singly again, which finds the error too.
		_ = l.Read(ctx, Query{Ref: &ref, After: end}, func(b Batch) error {
			for _, r := range b.Records {
				each(r)
			}
			end = b.Mark.Position
			return nil
		})
	}
}

// next is the aggregate's first event after a position, as the stream's leader has it.
func (l *Ledger) next(ctx context.Context, ref Ref, after Position) (Record, error) {
	m, err := l.get(ctx, Events, after+1, jetstream.WithGetMsgSubject(ref.subject()))
	if err != nil {
		return Record{}, err
	}
	records, err := appendRecords(make([]Record, 0, 1), m)
	if err != nil {
		return Record{}, &failed{Refused, err}
	}
	return records[0], nil
}

// get asks the stream's leader for one message; ErrNoSuchPosition if it has none there.
func (l *Ledger) get(ctx context.Context, s Stream, p Position, opts ...jetstream.GetMsgOpt) (stored, error) {
	var m *jetstream.RawStreamMsg
	missing := false
	err := insist(ctx, func(ctx context.Context) (err error) {
		m, err = l.streams[s].GetMsg(ctx, uint64(p), opts...)
		if missing = errors.Is(err, jetstream.ErrMsgNotFound); missing {
			return nil
		}
		return err
	})
	if err != nil {
		return stored{}, err
	}
	if missing {
		return stored{}, ErrNoSuchPosition
	}
	return stored{stream: s, subject: m.Subject, header: m.Header, data: m.Data, position: Position(m.Sequence), at: m.Time}, nil
}

// End is the position of the stream's last message.
func (l *Ledger) End(ctx context.Context, s Stream) (Position, error) {
	info, err := l.info(ctx, s)
	if err != nil {
		return 0, err
	}
	return Position(info.State.LastSeq), nil
}

func (l *Ledger) info(ctx context.Context, s Stream) (info *jetstream.StreamInfo, err error) {
	err = insist(ctx, func(ctx context.Context) (err error) {
		info, err = l.streams[s].Info(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask for the end of %s: %w", s, err)
	}
	return info, nil
}
