package audit

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/eventstore"
)

// A Status is how far the signing of a stream is, as this process knows.
type Status struct {
	Stream     eventstore.Stream
	Log        uint64
	First      eventstore.Position // of the messages that the ledger has
	Size       int64               // messages of the stream
	SignedSize int64               // those of the last checkpoint
	SignedAt   time.Time           // when that was published
	Mine       bool                // this process has put it
	Fork       string              // what was found; "": nothing
}

// Status is that of each stream, from memory.
func (s *Signer) Status() (all []Status) {
	for _, one := range s.streams {
		all = append(all, one.readStatus())
	}
	return all
}

func (s *streamSigner) readStatus() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

func (s *streamSigner) setStatus(change func(*Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.status)
}

// measure registers the signer's metrics with to, which may be nil.
func (s *Signer) measure(to prometheus.Registerer) {
	s.unhashed = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keytrail_trail_unhashed_total", Help: "Messages of uses that aged out before a Merkle log had their hashes.",
	}, []string{"stream"})
	if to == nil {
		return
	}
	to.MustRegister(s.unhashed)
	for _, one := range s.streams {
		gauge := func(name, help string, value func(Status) float64) {
			to.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: prometheus.Labels{"stream": one.stream.String()}},
				func() float64 { return value(one.readStatus()) }))
		}
		s.unhashed.WithLabelValues(one.stream.String()) // so that the first one is an increase
		gauge("keytrail_trail_size", "Messages of the stream.", func(st Status) float64 { return float64(st.Size) })
		gauge("keytrail_trail_signed_size", "Messages of the stream that its last checkpoint is of.", func(st Status) float64 { return float64(st.SignedSize) })
		gauge("keytrail_trail_checkpoint_timestamp_seconds", "When the last checkpoint of the stream was published.", func(st Status) float64 {
			if st.SignedAt.IsZero() {
				return 0
			}
			return float64(st.SignedAt.UnixMilli()) / 1000
		})
		gauge("keytrail_trail_fork", "1 if the ledger is not what was signed of the stream.", func(st Status) float64 {
			if st.Fork == "" {
				return 0
			}
			return 1
		})
	}
}
