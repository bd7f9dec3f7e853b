package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A filling is how fast the keys were written, straight to the ledger.
type filling struct {
	Keys    int     `json:"keys"`
	Seconds float64 `json:"seconds"`
}

// fill appends the events that begin the population's keys, as the service would, to the
// ledger in dir, which no service may be using. It goes without an fsync for each: what
// counts is what is in the ledger, not that it survives a power cut while it gets there.
func fill(ctx context.Context, dir string, p population, keys int) (filling, error) {
	begin := time.Now()
	err := withLedger(ctx, dir, func(l *eventstore.Ledger) error {
		const writers = 64
		var next atomic.Int64
		g, ctx := errgroup.WithContext(ctx)
		for range writers {
			g.Go(func() error {
				for {
					i := int(next.Add(1) - 1)
					if i >= keys {
						return nil
					}
					e := p.created(i)
					if _, err := l.Append(ctx, eventstore.KeyRef(e.Org, e.ID), 0, eventstore.Command{ID: commandOf(i), Actor: e.By}, e); err != nil {
						return fmt.Errorf("append key %d: %w", i, err)
					}
				}
			})
		}
		return g.Wait()
	})
	return filling{Keys: keys, Seconds: time.Since(begin).Seconds()}, err
}

// recorded tallies the uses in the ledger in dir that the verifier asked about. Refused
// unknown credentials are summed up on the ledger: they count for as many as they stand. Of
// a request that was decided again, because its key changed, the refusal was answered.
func recorded(ctx context.Context, dir, verifier string) (*tally, error) {
	var t tally
	refused := map[string]bool{} // requests
	err := withLedger(ctx, dir, func(l *eventstore.Ledger) error {
		err := l.Read(ctx, eventstore.Query{Reach: domain.All, Stream: eventstore.Uses}, func(b eventstore.Batch) error {
			for _, r := range b.Records {
				if e, ok := r.Event.(domain.KeyUsed); ok && e.Code != domain.UseValid && e.RequestID != "" {
					refused[strings.Clone(e.RequestID)] = true
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		return l.Read(ctx, eventstore.Query{Reach: domain.All, Stream: eventstore.Uses}, func(b eventstore.Batch) error {
			for _, r := range b.Records {
				switch e := r.Event.(type) {
				case domain.KeyUsed:
					again := e.Code == domain.UseValid && refused[e.RequestID]
					if e.Principal == verifier && string(e.Key) != verifier && !again {
						t.add(string(e.Code), 1)
					}
				case domain.CredentialsRefused:
					if e.Principal == verifier {
						t.add(string(domain.UseNotFound), e.Count)
					}
				}
			}
			return nil
		})
	})
	return &t, err
}

// withLedger opens the ledger in a directory in this process.
func withLedger(ctx context.Context, dir string, do func(*eventstore.Ledger) error) error {
	log := slog.New(slog.DiscardHandler)
	server, err := eventstore.StartUnsyncedServer(dir, log)
	if err != nil {
		return err
	}
	defer server.Close()
	nc, err := server.Connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	l, err := eventstore.Open(ctx, nc, eventstore.Options{Logger: log})
	if err != nil {
		return err
	}
	return do(l)
}
