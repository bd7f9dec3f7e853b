package eventstore

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// The headers of an atomic batch, for which the client library has no names. They stay on the
// stored messages.
const (
	headerBatchID       = "Nats-Batch-Id"
	headerBatchSequence = "Nats-Batch-Sequence" // of the message in the batch, from 1
	headerBatchCommit   = "Nats-Batch-Commit"   // on the last one: "1"
)

// The bounds of an atomic batch: the server's own number of messages, and a size of which
// several are still far below what a stream lets wait before it (128 MiB).
const (
	maxAtomicMessages = 1000
	maxAtomicBytes    = 4 << 20
)

// publishBatch appends messages to one stream as a JetStream atomic batch, trying once: all
// of them at consecutive positions, of which last is the last, or none. Each message names the
// position that it expects to be its subject's last, and one that is wrong refuses the batch.
//
// Only the last message is answered. The server notices by the sequence if it lacks another,
// because it refused that one or this client was connected anew in between.
func (l *Ledger) publishBatch(ctx context.Context, messages []*nats.Msg) (last Position, err error) {
	id := nuid.Next()
	for i, m := range messages {
		m.Header.Set(headerBatchID, id)
		m.Header.Set(headerBatchSequence, strconv.Itoa(i+1))
	}
	commit := messages[len(messages)-1]
	commit.Header.Set(headerBatchCommit, "1")
	for _, m := range messages[:len(messages)-1] {
		if err := l.nc.PublishMsg(m); err != nil {
			return 0, err
		}
	}
	answer, err := l.nc.RequestMsgWithContext(ctx, commit)
	if err != nil {
		return 0, err
	}
	return readBatchAck(answer.Data, len(messages))
}

// readBatchAck is the last position of a batch of n messages, from the server's answer.
func readBatchAck(answer []byte, n int) (last Position, err error) {
	var ack struct {
		Error *jetstream.APIError `json:"error"`
		Last  Position            `json:"seq"`
		Count int                 `json:"count"`
	}
	if err := json.Unmarshal(answer, &ack); err != nil {
		return 0, fmt.Errorf("read the acknowledgement of a batch: %w", err)
	}
	if ack.Error != nil {
		return 0, ack.Error
	}
	if ack.Count != n || ack.Last < Position(n) {
		return 0, fmt.Errorf("%d of the batch's %d messages were acknowledged, up to position %d", ack.Count, n, ack.Last)
	}
	return ack.Last, nil
}

// leaveBatch makes messages that were sent as a batch ones that can be sent singly.
func leaveBatch(messages []*nats.Msg) {
	for _, m := range messages {
		for _, name := range []string{headerBatchID, headerBatchSequence, headerBatchCommit} {
			m.Header.Del(name)
		}
	}
}
