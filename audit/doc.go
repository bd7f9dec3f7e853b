// Package audit is the evidence that a trail is what it was: a Merkle log (RFC 6962) over each
// stream of the ledger, whose leaf n is message n+1, and signed checkpoints of it.
//
// The logs follow from the ledger: anyone with its messages computes them bit for bit. Their
// hashes, as tiles (C2SP tlog-tiles), and the last checkpoints (C2SP tlog-checkpoint) are kept on
// the ledger's servers beside it, where each process and each start finds them, because those of
// uses that have aged out cannot be computed again.
//
// A Signer signs what has come, at most once a second. It never signs what differs from what was
// signed before: that is a fork, which ends the log until an operator renews it. A Log reads.
package audit
