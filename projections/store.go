package projections

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/backoff"
)

// Options of a store. The zero value is usable.
type Options struct {
	CacheBytes uint64 // of memory for credentials at most, 2 MiB at least; an eighth for attributes, if keyspaces require some, and an eighth for sessions
	Logger     *slog.Logger
	Metrics    prometheus.Registerer // nil: none
}

// attributesShare is how many times smaller than the cache of credentials that of attributes is: an
// owner's entry has some 60 bytes.
const attributesShare = 8

// A Store is the read model on one directory. It is safe for concurrent use.
//
// Each stream's projections have a Badger of their own: what many uses write does not lie
// in the way of looking a credential up.
type Store struct {
	log      *slog.Logger
	ledger   atomic.Pointer[eventstore.Ledger] // nil before Run
	engines  [2]*engine                        // by stream
	rebuilds *rebuilds

	keys, plans, organizations, owners, keyspaces, quotas, requests, orgEvents, sinks, people, directories view // of the events
	logIns, sso                                                                                            view // of the events
	usage, postings, messages                                                                              view // of the uses

	keyspaceSet atomic.Pointer[domain.Keyspaces]   // as they are published; of the table of keyspaces
	sinkSet     atomic.Pointer[SinkSet]            // as they are published; of the table of sinks
	planSet     atomic.Pointer[domain.Plans]       // as they are published; of the table of plans
	planned     atomic.Pointer[orgMap[string]]     // names of the plans of organizations; of the table of organizations
	sessionKeys atomic.Pointer[domain.SessionKeys] // as they are published; of their table
	suspended   atomic.Pointer[orgMap[struct{}]]   // as they are published; of the table of organizations
	ssoPolicies atomic.Pointer[orgMap[ssoPolicy]]  // as they are published; of the table of single sign-on
	credentials *cache                             // kept in line with the published rows of keys by its table
	surplus     *cache                             // of organizations with more keys than their plans allow, see Surplus; kept in line by the table of keys
	attributes  *cache                             // names of attributes, kept in line by the tables of owners and organizations
	peopleCache *cache                             // what sessions are decided from, kept in line by the table of people
	sessionsAt  atomic.Uint64                      // see SessionsVersion
}

// Open opens or creates the read model in dir. Run brings it up to date.
func Open(dir string, o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{log: o.Logger, rebuilds: newRebuilds(), credentials: newCache(o.CacheBytes), attributes: newCache(o.CacheBytes / attributesShare), surplus: newCache(o.CacheBytes / attributesShare), peopleCache: newCache(o.CacheBytes / attributesShare)}
	s.keyspaceSet.Store(domain.NewKeyspaces(nil))
	s.sessionKeys.Store(new(domain.SessionKeys))
	s.planSet.Store(&domain.Plans{})
	s.planned.Store(new(orgMap[string]))
	s.suspended.Store(new(orgMap[struct{}]))
	s.ssoPolicies.Store(new(orgMap[ssoPolicy]))
	s.sinkSet.Store(newSinkSet(nil))
	for stream := range s.engines {
		e, err := openEngine(s, dir, eventstore.Stream(stream))
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.engines[stream] = e
	}
	s.keys, s.organizations, s.owners, s.keyspaces = s.find("keys"), s.find("organizations"), s.find("owners"), s.find("keyspaces")
	s.quotas, s.requests, s.orgEvents = s.find("quotas"), s.find("requests"), s.find("org_events")
	s.sinks, s.people, s.plans, s.directories = s.find("sinks"), s.find("people"), s.find("plans"), s.find("directories")
	s.logIns = s.find("log_ins")
	s.sso = s.find("sso")
	s.usage, s.postings, s.messages = s.find("usage"), s.find("postings"), s.find("messages")
	if o.Metrics != nil {
		o.Metrics.MustRegister(collector{s})
	}
	return s, nil
}

// Close closes the store. Run must have returned.
func (s *Store) Close() (err error) {
	for _, e := range s.engines {
		if e != nil {
			err = errors.Join(err, e.close())
		}
	}
	return err
}

// Run keeps every projection up to date until ctx ends. A projection that cannot apply an
// event stops, which Status and WaitFor tell, and never skips it.
func (s *Store) Run(ctx context.Context, l *eventstore.Ledger) error {
	tasks, ctx := errgroup.WithContext(ctx)
	s.ledger.Store(l)
	for _, e := range s.engines {
		for {
			err := e.matchLedger(ctx, l)
			if err == nil {
				break
			}
			if !errors.Is(err, domain.ErrLedgerUnavailable) || backoff.Sleep(ctx, time.Second) != nil {
				return err
			}
		}
	}
	tasks.Go(func() error { return l.Beat(ctx) })
	for _, e := range s.engines {
		tasks.Go(func() error { e.run(ctx, l); return nil })
		tasks.Go(func() error { e.keepFlushing(ctx); return nil })
		tasks.Go(func() error { e.keepRetention(ctx, l); return nil })
	}
	tasks.Go(func() error { s.warm(ctx, l); return nil })
	tasks.Go(func() error { s.keepMonths(ctx, l); return nil })
	tasks.Go(func() error { s.runRebuilds(ctx); return nil })
	return tasks.Wait()
}

// find looks a projection up by its name. Without one, the view has no engine.
func (s *Store) find(name string) view {
	for _, e := range s.engines {
		for slot, p := range e.projections {
			if p.name == name {
				return view{e, slot}
			}
		}
	}
	return view{}
}

// Dump gives every row to w in key order, by projection and without table numbers, so
// that two stores can be compared byte for byte.
func (s *Store) Dump(w func(name string, key, value []byte) error) error {
	for _, name := range Names() {
		if err := s.find(name).read(func(r rows) error {
			return r.each(nil, func(key, value []byte) error { return w(name, key, value) })
		}); err != nil {
			return err
		}
	}
	return nil
}
