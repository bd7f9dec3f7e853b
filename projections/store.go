package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// Options of a store. The zero value is usable.
type Options struct {
	CacheBytes uint64 // of memory for credentials at most, 2 MiB at least
	Logger     *slog.Logger
	Metrics    prometheus.Registerer // nil: none
}

// A Store is the read model on one directory. It is safe for concurrent use.
//
// Each stream's projections have a Badger of their own: what many uses write does not lie
// in the way of looking a credential up.
type Store struct {
	log    *slog.Logger
	ledger atomic.Pointer[eventstore.Ledger]
	groups [2]*group // by stream

	rebuilds *rebuilds
}

// Open opens or creates the read model in dir. Run brings it up to date.
func Open(dir string, o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{log: o.Logger, rebuilds: newRebuilds()}
	for stream := range s.groups {
		g, err := openGroup(s, dir, eventstore.Stream(stream), o.CacheBytes)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.groups[stream] = g
	}
	if o.Metrics != nil {
		o.Metrics.MustRegister(collector{s})
	}
	return s, nil
}

func openGroup(s *Store, dir string, stream eventstore.Stream, cacheBytes uint64) (*group, error) {
	dir = filepath.Join(dir, stream.String())
	db, err := badger.Open(badgerOptions(dir, s.log))
	if err != nil {
		return nil, fmt.Errorf("open the read model in %s: %w", dir, err)
	}
	g := newGroup(s, stream, db, newCache(cacheBytes))
	if err := g.loadCatalog(); err != nil {
		return nil, errors.Join(err, g.close())
	}
	return g, nil
}

// Close closes the store. Run must have returned.
func (s *Store) Close() (err error) {
	for _, g := range s.groups {
		if g != nil {
			err = errors.Join(err, g.close())
		}
	}
	return err
}

// Dump gives every row to w in key order, by projection and without table numbers, so
// that two stores can be compared byte for byte.
func (s *Store) Dump(w func(name string, key, value []byte) error) error {
	for _, g := range s.groups {
		for _, r := range g.runners {
			err := s.view(r, func(rows rows) error {
				return rows.each(nil, func(key, value []byte) error { return w(r.name, key, value) })
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// view runs f on the rows of one projection, as of one moment. A rebuild puts another table
// into the place of r's and then drops that: a transaction has all of the table that counted
// both before and after it began.
func (s *Store) view(r *runner, f func(rows) error) error {
	for {
		table := r.currentTable()
		tx := s.groups[r.stream].db.NewTransaction(false)
		if table == r.currentTable() {
			defer tx.Discard()
			return f(rows{tx: tx, table: table})
		}
		tx.Discard()
	}
}

// runner finds a projection by its name.
func (s *Store) runner(name string) *runner {
	for _, g := range s.groups {
		for _, r := range g.runners {
			if r.name == name {
				return r
			}
		}
	}
	return nil
}

func (s *Store) keys() *runner { return s.groups[eventstore.Events].runners[0] }

func (s *Store) organizations() *runner { return s.groups[eventstore.Events].runners[1] }

func (s *Store) usage() *runner { return s.groups[eventstore.Uses].runners[0] }

// Run keeps every projection up to date until ctx ends. A projection that cannot apply an
// event stops, which Status and WaitFor tell, and never skips it.
func (s *Store) Run(ctx context.Context, l *eventstore.Ledger) error {
	tasks, ctx := errgroup.WithContext(ctx)
	s.ledger.Store(l)
	for _, g := range s.groups {
		for {
			err := g.prepare(ctx, l)
			if err == nil {
				break
			}
			if !errors.Is(err, domain.ErrLedgerUnavailable) || rest(ctx, time.Second) != nil {
				return err
			}
		}
	}
	tasks.Go(func() error { return l.Beat(ctx) })
	for _, g := range s.groups {
		tasks.Go(func() error { g.run(ctx, l); return nil })
		tasks.Go(func() error { g.collectGarbage(ctx); return nil })
	}
	tasks.Go(func() error { s.groups[eventstore.Uses].keepFlushing(ctx); return nil })
	tasks.Go(func() error { s.warm(ctx, l); return nil })
	tasks.Go(func() error { s.runRebuilds(ctx); return nil })
	return tasks.Wait()
}
