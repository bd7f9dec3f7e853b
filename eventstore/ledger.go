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
	Logger       *slog.Logger
	Metrics      prometheus.Registerer // nil: none
}

const defaultUsesMaxAge = 400 * 24 * time.Hour

// appendTimeout bounds an append whose caller set no deadline: nothing hangs on a server
// that does not answer.
const appendTimeout = 5 * time.Second

// The outcomes of an append other than success. Any error but ErrConflict is ambiguous:
// the event may have been written. Load and look for the command's id.
var (
	ErrConflict       = errors.New("the aggregate moved on: nothing was written")
	ErrNoSuchPosition = errors.New("the ledger holds nothing at that position")
	ErrUnavailable    = &domain.Error{Kind: domain.Unavailable, Code: "ledger_unavailable",
		Text: "the ledger does not answer; repeat the request with the same Idempotency-Key"}
)

// A Ledger appends to and reads the two streams. It is safe for concurrent use.
type Ledger struct {
	js      jetstream.JetStream
	streams [2]jetstream.Stream
	log     *slog.Logger
	latency *prometheus.HistogramVec
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
	}, []string{"stream"})}
	for _, want := range configs(o) {
		s, err := l.open(ctx, want)
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
		o.Metrics.MustRegister(l.latency)
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

func (l *Ledger) open(ctx context.Context, want jetstream.StreamConfig) (jetstream.Stream, error) {
	s, err := l.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return l.js.CreateStream(ctx, want)
	}
	if err != nil {
		return nil, err
	}
	have := s.CachedInfo().Config
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

// Append writes e after the aggregate's event at position after, 0: as its first. It has
// three outcomes: written; ErrConflict, nothing written; anything else, ambiguous.
func (l *Ledger) Append(ctx context.Context, ref Ref, after Position, c Command, e domain.Event) (Position, error) {
	if err := l.Held(); err != nil {
		return 0, err
	}
	m, err := Message(ref, c, e)
	if err != nil {
		return 0, err
	}
	p, err := l.publish(ctx, Events, m, jetstream.WithExpectLastSequencePerSubject(uint64(after)))
	if err != nil {
		return 0, fmt.Errorf("append %s to %s after %d: %w", e.EventType(), ref, after, err)
	}
	return p, nil
}

// AppendUses writes b as one message. A lost acknowledgement is retried under the same
// message id until ctx's deadline, so that the uses are written once.
func (l *Ledger) AppendUses(ctx context.Context, org domain.OrgID, b *UseBatch) (Position, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return 0, err
	}
	m := nats.NewMsg(Uses.root() + string(org))
	m.Data = b.body()
	m.Header.Set(headerType, typeUses)
	m.Header.Set(headerVersion, "1")
	m.Header.Set(jetstream.MsgIDHeader, id.String())
	return l.insist(ctx, m)
}

// AppendRefused writes a summary of refused credentials into the uses stream.
func (l *Ledger) AppendRefused(ctx context.Context, org domain.OrgID, e domain.CredentialsRefused) (Position, error) {
	m, err := message(Uses.root()+string(org), org, "", Uses, Command{Actor: e.Principal}, e)
	if err != nil {
		return 0, err
	}
	return l.insist(ctx, m)
}

// insist publishes m to the uses stream until it is acknowledged or ctx ends. The
// server's duplicate window (2 minutes) outlives every deadline that callers set.
func (l *Ledger) insist(ctx context.Context, m *nats.Msg) (Position, error) {
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	for attempt := time.Duration(1); ; attempt++ {
		try, cancel := context.WithTimeout(ctx, time.Second)
		p, err := l.publish(try, Uses, m)
		cancel()
		if err == nil || ctx.Err() != nil || refused(err) {
			return p, err
		}
		select {
		case <-ctx.Done():
			return 0, err
		case <-time.After(attempt * 20 * time.Millisecond):
		}
	}
}

// refused tells that the server answered and said no, which repeating does not change.
func refused(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api)
}

func (l *Ledger) publish(ctx context.Context, s Stream, m *nats.Msg, opts ...jetstream.PublishOpt) (Position, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, appendTimeout)
		defer cancel()
	}
	start := time.Now()
	ack, err := l.js.PublishMsg(ctx, m, opts...)
	l.latency.WithLabelValues(s.String()).Observe(time.Since(start).Seconds())
	switch {
	case err == nil:
		return Position(ack.Sequence), nil
	case isConflict(err):
		return 0, ErrConflict
	}
	return 0, &unavailable{err}
}

// unavailable is ErrUnavailable to callers, and keeps its cause for the log.
type unavailable struct{ cause error }

func (e *unavailable) Error() string   { return "ledger: " + e.cause.Error() }
func (e *unavailable) Unwrap() []error { return []error{ErrUnavailable, e.cause} }

// isConflict recognises both codes of a lost race, one of which only replicated streams
// give. Nothing else in the program knows NATS error codes.
func isConflict(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// Load reads the whole history of one aggregate, oldest first, from the stream's leader.
// end is the position of the last record, 0 if there is none.
func (l *Ledger) Load(ctx context.Context, ref Ref) (history []Record, end Position, err error) {
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	subject := ref.subject()
	for {
		m, err := l.streams[Events].GetMsg(ctx, uint64(end)+1, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return history, end, nil
		}
		if err != nil {
			return nil, 0, fmt.Errorf("load %s: %w", ref, &unavailable{err})
		}
		end = Position(m.Sequence)
		if history, err = appendRecords(history, fromRaw(Events, m)); err != nil {
			return nil, 0, fmt.Errorf("load %s: %w", ref, err)
		}
	}
}

func fromRaw(s Stream, m *jetstream.RawStreamMsg) stored {
	return stored{stream: s, subject: m.Subject, header: m.Header, data: m.Data, position: Position(m.Sequence), at: m.Time}
}

// End is the position of the stream's last message.
func (l *Ledger) End(ctx context.Context, s Stream) (Position, error) {
	info, err := l.info(ctx, s)
	if err != nil {
		return 0, err
	}
	return Position(info.State.LastSeq), nil
}

func (l *Ledger) info(ctx context.Context, s Stream) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	info, err := l.streams[s].Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for the end of %s: %w", s, &unavailable{err})
	}
	return info, nil
}
