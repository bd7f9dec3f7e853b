package api

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/audit/evidence"
	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A bundleQuery is one request for a bundle.
type bundleQuery struct {
	org      domain.OrgID // "": all
	from, to time.Time    // zero: open
	since    [2]int64     // by stream: the size of an older checkpoint; -1: there is none
}

// parseBundle reads what is to be in a bundle: all of the installation, or of the one organization
// that the caller reaches or names.
func parseBundle(r *http.Request, p domain.Principal) (q bundleQuery, err error) {
	v, err := parseParameters(r, nil, "org_id", "from", "to", "since_events", "since_uses")
	if err != nil {
		return q, err
	}
	reach, err := reachOf(p, v.Get("org_id"))
	if err != nil {
		return q, err
	}
	q.org = reach.Org
	if q.from, q.to, err = parseTimes(v); err != nil {
		return q, err
	}
	for _, stream := range eventstore.Streams {
		if q.since[stream], err = parseSince(v, "since_"+stream.String()); err != nil {
			return q, err
		}
	}
	return q, nil
}

func parseSince(v url.Values, name string) (int64, error) {
	if !v.Has(name) {
		return -1, nil
	}
	size, err := strconv.ParseInt(v.Get(name), 10, 64)
	if err != nil || size < 0 {
		return 0, domain.InvalidField(name, "must be the size of an older checkpoint")
	}
	return size, nil
}

// bundle streams events and uses with what proves them. It aborts what it cannot finish, so that
// the client knows that it is not whole.
func (s *server) bundle(w http.ResponseWriter, r *http.Request, p domain.Principal) error {
	q, err := parseBundle(r, p)
	if err != nil {
		return err
	}
	done, err := s.acquireStream(w, p)
	if err != nil {
		return err
	}
	defer done()
	release, err := s.admission.acquireFor(r.Context(), &s.admission.replays, p.Org)
	if err != nil {
		return err
	}
	defer release()
	if err := s.readTrail(r.Context(), p, commands.ReadTrail{Access: domain.AccessBundle, Filter: map[string]string{"org_id": string(q.org)}, From: q.from, To: q.to}); err != nil {
		return err
	}
	ctx, stop := s.whileServing(r.Context())
	defer stop()
	m, sources, err := s.sources(ctx, q)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	if err := evidence.Write(&readersWriter{w, s, r, time.Now()}, m, sources...); err != nil && !errors.Is(err, errClientGone) {
		s.abort(r, err)
	}
	return nil
}

// A readersWriter is the body of an answer to a reader of the trail, who is asked now and then
// whether his key is still good.
type readersWriter struct {
	http.ResponseWriter
	s       *server
	r       *http.Request
	checked time.Time
}

func (w *readersWriter) Write(b []byte) (int, error) {
	if time.Since(w.checked) > recheckEvery {
		if err := w.s.stillMayRead(w.r, eventstore.Page{}); err != nil {
			return 0, err
		}
		w.checked = time.Now()
	}
	n, err := w.ResponseWriter.Write(b)
	if err != nil {
		return n, errClientGone
	}
	return n, nil
}

// sources are both logs up to their checkpoints, with what q asks for.
func (s *server) sources(ctx context.Context, q bundleQuery) (m evidence.Manifest, sources []evidence.Source, err error) {
	if s.Merkle == nil {
		return m, nil, domain.ErrNoTrailLog
	}
	t, err := s.Merkle.Current(ctx)
	if err != nil {
		return m, nil, err
	}
	m = evidence.Manifest{Version: s.Version, At: s.Now().UTC(), Organization: q.org, From: unlessZero(q.from), To: unlessZero(q.to), VerifierKeys: verifiersOf(t, eventstore.Streams[:]...)}
	first, last, err := s.between(ctx, q)
	if err != nil {
		return m, nil, err
	}
	for _, stream := range eventstore.Streams {
		source, err := s.source(ctx, stream, q, first[stream], last[stream])
		if err != nil {
			return m, nil, err
		}
		sources = append(sources, source)
	}
	return m, sources, nil
}

func unlessZero(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}

// between are the positions of what was stored between the times, by stream; a last one of 0 is the
// checkpoint's.
func (s *server) between(ctx context.Context, q bundleQuery) (first, last [2]eventstore.Position, err error) {
	var from, to domain.TrailPlace
	if !q.from.IsZero() {
		if from, err = s.trail.PlaceAt(ctx, q.from); err != nil {
			return first, last, err
		}
	}
	open := eventstore.Position(1<<63 - 1)
	last = [2]eventstore.Position{open, open}
	if !q.to.IsZero() {
		if to, err = s.trail.PlaceAt(ctx, q.to); err != nil {
			return first, last, err
		}
		last = [2]eventstore.Position{eventstore.Position(to.Events), eventstore.Position(to.Uses)}
	}
	return [2]eventstore.Position{eventstore.Position(from.Events) + 1, eventstore.Position(from.Uses) + 1}, last, nil
}

// source is one log up to its checkpoint, with the messages between two positions.
func (s *server) source(ctx context.Context, stream eventstore.Stream, q bundleQuery, first, last eventstore.Position) (evidence.Source, error) {
	c, err := s.Merkle.Published(ctx, stream)
	if err != nil {
		return evidence.Source{}, err
	}
	ends, err := s.Ledger.Ends(ctx, stream)
	if err != nil {
		return evidence.Source{}, err
	}
	last = min(last, eventstore.Position(c.Size))
	first = min(max(first, ends.First), last+1) // uses before have aged out
	l := evidence.Log{Stream: stream.String(), First: first, Last: last, Checkpoint: string(c.Note)}
	if old := q.since[stream]; old >= 0 {
		if old > c.Size {
			return evidence.Source{}, domain.InvalidField("since_"+stream.String(), "is more than the log has: is the older checkpoint of another log?")
		}
		proof, err := s.Merkle.Consistency(ctx, c, old)
		if err != nil {
			return evidence.Source{}, err
		}
		l.Consistency = evidence.NewConsistency(uint64(old), proof)
	}
	return evidence.Source{Log: l, Size: uint64(c.Size), Hashes: s.Merkle.Hashes(ctx, c),
		Messages: s.messages(ctx, stream, q.org, first-1, last)}, nil
}

var errEnough = errors.New("nothing more is wanted")

func (s *server) messages(ctx context.Context, stream eventstore.Stream, org domain.OrgID, after, upto eventstore.Position) iter.Seq2[*eventstore.Raw, error] {
	return func(yield func(*eventstore.Raw, error) bool) {
		err := s.trail.Messages(ctx, stream, org, after, upto, func(m *eventstore.Raw) error {
			if !yield(m, nil) {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(nil, err)
		}
	}
}

func (s *server) documentBundle() description {
	return description{summary: "Export events and uses with what proves them", details: "Lines of JSON, as docs/audit.md says; keytrail audit verify checks them. Up to the last checkpoints.",
		parameters: []*huma.Param{
			queryParam("org_id", "Events and uses of this organization alone.", textSchema()),
			queryParam("from", "What was stored from this time on.", timeSchema()),
			queryParam("to", "What was stored before this time.", timeSchema()),
			queryParam("since_events", "The size of an older checkpoint of the log of events, which the log is shown to go on from.", intSchema(0, 1<<62)),
			queryParam("since_uses", "The same of the log of uses.", intSchema(0, 1<<62)),
		},
		answer: map[string]*huma.MediaType{"application/x-ndjson": {Schema: textSchema()}}, refusals: []int{http.StatusNotFound}}
}
