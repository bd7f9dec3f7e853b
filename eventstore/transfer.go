package eventstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats-server/v2/server/archive"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/internal/backoff"
)

// restoreTimeout bounds each answer of the server during a restoration.
const restoreTimeout = time.Minute

// A transfer is one use of JetStream's restore protocol: chunks of a compressed archive,
// each answered before the next, then an empty one, whose answer is the stream.
type transfer struct {
	nc     *nats.Conn
	stream Stream
	state  jetstream.StreamState
	to     string // the subject that takes the chunks
}

func (t *transfer) begin(ctx context.Context, config jetstream.StreamConfig) error {
	ctx, cancel := context.WithTimeout(ctx, restoreTimeout)
	defer cancel()
	request, err := json.Marshal(map[string]any{"config": config, "state": t.state})
	if err != nil {
		return err
	}
	var answer struct {
		Deliver string `json:"deliver_subject"`
	}
	for {
		err = t.ask(ctx, "$JS.API.STREAM.RESTORE."+config.Name, request, &answer)
		if !errors.Is(err, nats.ErrNoResponders) {
			break
		}
		// A cluster without a leader for a moment: nothing was begun.
		if err := backoff.Sleep(ctx, restartPause); err != nil {
			return err
		}
	}
	t.to = answer.Deliver
	return err
}

// ask makes one request. An answer without a body is a plain acknowledgement.
func (t *transfer) ask(ctx context.Context, subject string, body []byte, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, restoreTimeout)
	defer cancel()
	m, err := t.nc.RequestWithContext(ctx, subject, body)
	if err != nil || len(m.Data) == 0 {
		return err
	}
	var failure struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &failure); err != nil {
		return err
	}
	if failure.Error != nil {
		return failure.Error
	}
	return json.Unmarshal(m.Data, answer)
}

// chunkBytes is well below the payload of 1 MiB that servers take by default.
const chunkBytes = 256 << 10

func (t *transfer) send(ctx context.Context, content io.Reader) error {
	var answer struct {
		State jetstream.StreamState `json:"state"`
	}
	chunk := make([]byte, chunkBytes)
	for {
		n, err := io.ReadFull(content, chunk)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		if n > 0 {
			if err := t.ask(ctx, t.to, chunk[:n], &answer); err != nil {
				return err
			}
		}
		if err != nil {
			break
		}
	}
	if err := t.ask(ctx, t.to, nil, &answer); err != nil {
		return err
	}
	if answer.State.LastSeq != t.state.LastSeq {
		return fmt.Errorf("the restored stream ends at %d, not at %d", answer.State.LastSeq, t.state.LastSeq)
	}
	return nil
}

// write writes the archive: the stream's state, the messages, and an entry that is empty.
func (t *transfer) write(w io.Writer, each func(func(*Raw) error) error) error {
	compressed := s2.NewWriter(w, s2.WriterConcurrency(1))
	a := archive.NewWriter(compressed)
	state, err := json.Marshal(t.state)
	if err != nil {
		return err
	}
	if err := writeEntry(a, archive.Header{Name: "state.json", PayloadSize: int64(len(state))}, state); err != nil {
		return err
	}
	if err := each(func(m *Raw) error { return t.message(a, m) }); err != nil {
		return err
	}
	if err := writeEntry(a, archive.Header{}); err != nil {
		return err
	}
	return errors.Join(a.Close(), compressed.Close())
}

func (t *transfer) message(a *archive.Writer, m *Raw) error {
	if !strings.HasPrefix(m.Subject, t.stream.root()) {
		return fmt.Errorf("the message at position %d does not belong to %s", m.Position, t.stream)
	}
	header := encodeHeader(m.Header)
	return writeEntry(a, archive.Header{Name: m.Subject, Timestamp: m.Stored.UnixNano(), Sequence: uint64(m.Position),
		HeaderSize: int64(len(header)), PayloadSize: int64(len(m.Data))}, header, m.Data)
}

func writeEntry(a *archive.Writer, h archive.Header, parts ...[]byte) error {
	if err := a.WriteHeader(&h); err != nil {
		return err
	}
	for _, p := range parts {
		if _, err := a.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// encodeHeader is the header as it goes over the wire, nil if there is none.
func encodeHeader(h map[string][]string) []byte {
	if len(h) == 0 {
		return nil
	}
	var b strings.Builder
	b.WriteString("NATS/1.0\r\n")
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			b.WriteString(name + ": " + value + "\r\n")
		}
	}
	b.WriteString("\r\n")
	return []byte(b.String())
}
