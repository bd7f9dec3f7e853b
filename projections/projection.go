package projections

import (
	"fmt"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/eventstore"
)

// A projection is how one set of rows follows from the records of one stream. The rows must
// not depend on how the records are cut into batches, on time or on anything but the
// records.
type projection struct {
	name    string
	version int
	stream  eventstore.Stream
	table   func(*Store, tableState) table // a table of the projection, in memory
}

// projections are all there are. Raise a version when the rows become others.
var projections = []projection{
	{"keys", 15, eventstore.Events, newKeysTable},
	{"plans", 1, eventstore.Events, newPlansTable}, // before those of organizations, which name them
	{"organizations", 5, eventstore.Events, newOrganizationsTable},
	{"owners", 1, eventstore.Events, newOwnersTable},
	{"keyspaces", 1, eventstore.Events, newKeyspacesTable},
	{"sinks", 1, eventstore.Events, newSinksTable},
	{"sso", 2, eventstore.Events, newSSOTable},
	{"people", 3, eventstore.Events, newPeopleTable},
	{"directories", 2, eventstore.Events, direct(applyDirectories)},
	{"session_keys", 1, eventstore.Events, newSessionKeysTable},
	{"log_ins", 1, eventstore.Events, direct(applyLogIns)},
	{"quotas", 2, eventstore.Events, direct(applyQuotas)},
	{"requests", 2, eventstore.Events, direct(applyRequests)},
	{"org_events", 1, eventstore.Events, direct(applyOrgEvents)},
	{"usage", 5, eventstore.Uses, newUsageTable},
	{"postings", 1, eventstore.Uses, newPostingsTable},
	{"messages", 1, eventstore.Uses, newMessagesTable},
}

// Names are the names of all projections.
func Names() (names []string) {
	for _, p := range projections {
		names = append(names, p.name)
	}
	return names
}

// A table is the rows of one projection and takes in the records that they follow from.
// There are two kinds: a direct table writes rows in the transaction of the batch; a
// buffered one, which those of usage and of posting lists are, collects in memory and is flushed
// with a checkpoint of its own. One goroutine at a time calls it.
type table interface {
	state() *tableState

	// resume goes on where the catalog says that the rows are.
	resume(rows, catalogEntry) error

	// apply takes in a batch, as far as it is new. It may be called again with the same batch
	// if it, or the commit of tx, fails.
	apply(tx *badger.Txn, b eventstore.Batch) error
	// committed follows when tx is committed.
	committed(c eventstore.Checkpoint)

	// reached is the end of the last batch that was taken in. The rows may be behind.
	reached() eventstore.Checkpoint
	// buffered is how many records are not in the rows yet.
	buffered() int
	// flush brings the rows up to what was reached. If it fails it can be tried again.
	flush() error
	// skip counts all up to gone as taken in, because the ledger has it no more.
	skip(gone eventstore.Checkpoint)

	// publishing is called before readers see the rows in a snapshot of that number.
	publishing(number uint64)
}

// tableState is what an engine knows of each table.
type tableState struct {
	projection
	db         *badger.DB
	number     uint16
	checkpoint eventstore.Checkpoint // what the rows stand for
	unflushed  *postingsBuffer       // what queries read beside the rows; nil: nothing

	// building: the rows do not count yet. The catalog still names the old table, so that a
	// crash finds that one and drops this.
	building bool
}

func (t *tableState) state() *tableState { return t }

func (t *tableState) rows(tx *badger.Txn) rows { return rows{tx: tx, table: t.number} }

// A directTable is always at its checkpoint.
type directTable struct {
	tableState
	write func(rowMap, eventstore.Batch) error
}

// direct makes tables of which write, of the records of a batch, is all.
func direct(write func(rowMap, []eventstore.Record) error) func(*Store, tableState) table {
	return func(_ *Store, s tableState) table {
		return &directTable{s, func(r rowMap, b eventstore.Batch) error { return write(r, b.Records) }}
	}
}

func (t *directTable) resume(_ rows, e catalogEntry) error {
	t.checkpoint = *e.Checkpoint
	return nil
}

func (t *directTable) apply(tx *badger.Txn, b eventstore.Batch) error {
	if b.Checkpoint.Position <= t.checkpoint.Position {
		return nil
	}
	if err := t.write(t.rows(tx), b.After(t.checkpoint.Position)); err != nil {
		return fmt.Errorf("projection %s: %w", t.name, err)
	}
	return t.save(tx, b.Checkpoint, nil)
}

func (t *directTable) committed(c eventstore.Checkpoint) {
	if c.Position > t.checkpoint.Position {
		t.checkpoint = c
	}
}

func (t *directTable) reached() eventstore.Checkpoint { return t.checkpoint }
func (t *directTable) buffered() int                  { return 0 }
func (t *directTable) flush() error                   { return nil }
func (t *directTable) skip(eventstore.Checkpoint)     {} // the ledger keeps every event
func (t *directTable) publishing(uint64)              {}
