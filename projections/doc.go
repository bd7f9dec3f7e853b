// Package projections is the read model: what the ledger says, arranged in Badger so that
// questions are answered fast. It holds no truth of its own and can be thrown away.
//
// A projection is a name, a version, a stream and a table, whose rows follow from the stream's
// records. Its rows and its checkpoint, the position it has applied, are written in one
// transaction, so that a crash resumes exactly. Each projection's rows live in a numbered table; raising the
// version, or a rebuild, fills a new table from the ledger's beginning beside the old one.
//
// Each stream has an engine with a Badger of its own, which feeds the stream's projections
// and publishes what they wrote as a snapshot. Queries read the published snapshot alone.
package projections
