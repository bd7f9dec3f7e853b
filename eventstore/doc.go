// Package eventstore is the ledger: the append-only log on NATS JetStream that is both
// the database and the audit trail.
//
// It keeps two streams, and one of heartbeats that has no history. Events hold every change of a key or an organization, for ever,
// one subject per aggregate, so that an append can name the position it expects to be the
// subject's last (optimistic concurrency); those that come at the same time share an atomic batch. Uses hold every verification, packed many to a
// message, so that many share one fsync. What was acknowledged is on disk, provided that
// the server syncs always; the embedded one does.
package eventstore
