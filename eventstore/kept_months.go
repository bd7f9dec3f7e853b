package eventstore

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The stream of months has what the valid uses of the last months cost, which uses that age out would
// take with them. Sums are replaced as a whole: each is under a name of its own, and is deleted when
// another one counts.
const (
	monthsName = "KEYTRAIL_MONTHS"
	monthsRoot = "keytrail.months."
)

// monthsConfig is that of the stream of months: the last message of each subject. They can be deleted, when
// others have taken their place. A full disk refuses the new and not the old.
func monthsConfig(o Options) jetstream.StreamConfig {
	return keptAlike(o, jetstream.StreamConfig{
		Name: monthsName, Subjects: []string{monthsRoot + ">"},
		MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew,
	})
}

// DeleteKeptMonths deletes what is under each first part of a name that gone takes.
func (l *Ledger) DeleteKeptMonths(ctx context.Context, gone func(name string) bool) error {
	return retry(ctx, func(ctx context.Context) error {
		info, err := l.months.Info(ctx, jetstream.WithSubjectFilter(monthsRoot+"*.*"))
		if err != nil {
			return err
		}
		names := map[string]bool{}
		for subject := range info.State.Subjects {
			name, _, _ := strings.Cut(strings.TrimPrefix(subject, monthsRoot), ".")
			names[name] = gone(name)
		}
		for name, gone := range names {
			if !gone {
				continue
			}
			if err := l.months.Purge(ctx, jetstream.WithPurgeSubject(monthsRoot+name+".*")); err != nil {
				return err
			}
		}
		return nil
	})
}

// A Retention is what the ledger has of its uses, and how much it keeps.
type Retention struct {
	Ends
	Bytes, MaxBytes int64 // of all messages; MaxBytes is not positive: no bound
	MaxAge          time.Duration
	Oldest          time.Time // when the first message was stored
}

// UsesRetention is that of the uses, as the stream's leader has it.
func (l *Ledger) UsesRetention(ctx context.Context) (Retention, error) {
	info, err := l.info(ctx, Uses)
	if err != nil {
		return Retention{}, err
	}
	s := &info.State
	return Retention{Ends: Ends{First: max(1, Position(s.FirstSeq)), Last: Position(s.LastSeq)}, Bytes: int64(s.Bytes), MaxBytes: info.Config.MaxBytes,
		MaxAge: info.Config.MaxAge, Oldest: s.FirstTime}, nil
}

// IsUse reports whether a checkpoint is of a use that the ledger has, or has had and has aged out. That the stream was
// created anew does not matter: a restored ledger has its uses at the same positions.
func (l *Ledger) IsUse(ctx context.Context, c Checkpoint) (bool, error) {
	m, err := l.get(ctx, Uses, c.Position)
	if err == nil {
		return hash(&m) == c.Hash, nil
	}
	r, endsErr := l.UsesRetention(ctx)
	if endsErr != nil {
		return false, fmt.Errorf("look for the use %d: %w", c.Position, endsErr)
	}
	if c.Position < r.First {
		return c.Position <= r.Last, nil
	}
	if c.Position > r.Last {
		return false, nil
	}
	return false, err
}
