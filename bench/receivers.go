package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/keytrail/keytrail/internal/backoff"
	"github.com/klauspost/compress/zstd"
)

// A receiver takes what a sink sends, on loopback, and counts the events. It looks at them no
// closer: its processor time is taken from the service's.
type receiver struct {
	sink   fields // of the request for the sink, beside its name and organization
	events *atomic.Int64
	close  func()
}

// eventMark is what each CloudEvent has once.
var eventMark = []byte(`"specversion"`)

// receivers by the type of their sinks.
var receivers = map[string]func(e *env) (*receiver, error){
	"webhook": func(*env) (*receiver, error) { return newHTTPReceiver("webhook", fields{}, countOne, nil), nil },
	"splunk_hec": func(*env) (*receiver, error) {
		return newHTTPReceiver("splunk_hec", fields{"token": "bench"}, countMarks, []byte(`{"text":"Success","code":0}`)), nil
	},
	"elasticsearch": func(*env) (*receiver, error) {
		return newHTTPReceiver("elasticsearch", fields{"index": "bench", "token": "bench"}, countMarks, []byte(`{"errors":false,"items":[]}`)), nil
	},
	"otlp": func(*env) (*receiver, error) { return newHTTPReceiver("otlp", fields{}, countMarks, nil), nil },
	"s3": func(*env) (*receiver, error) {
		return newHTTPReceiver("s3", fields{"bucket": "bench", "region": "us-east-1", "access_key_id": "bench", "secret_access_key": "bench-secret"}, countMarks, nil), nil
	},
	"file": newFileReceiver,
}

func countOne([]byte) int64        { return 1 }
func countMarks(body []byte) int64 { return int64(bytes.Count(body, eventMark)) }

func newHTTPReceiver(kind string, settings fields, count func([]byte) int64, answer []byte) *receiver {
	r := &receiver{events: new(atomic.Int64)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := readBody(req)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.events.Add(count(body))
		_, _ = w.Write(answer) // the sink sees a lost answer
	}))
	r.sink, r.close = fields{"type": kind, "url": server.URL, "format": "cloudevents", "settings": settings}, server.Close
	return r
}

var zstdReader, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))

func readBody(req *http.Request) ([]byte, error) {
	body, err := io.ReadAll(req.Body)
	switch {
	case err != nil:
		return nil, err
	case req.Header.Get("Content-Encoding") == "gzip":
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(z)
	case bytes.HasPrefix(body, []byte{0x28, 0xb5, 0x2f, 0xfd}): // a zstd frame
		return zstdReader.DecodeAll(body, nil)
	}
	return body, nil
}

// newFileReceiver counts the lines of a file sink by reading what is added to it.
func newFileReceiver(e *env) (*receiver, error) {
	dir := e.sinkFiles
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &receiver{sink: fields{"type": "file", "format": "cloudevents", "settings": fields{"path": "bench.ndjson", "max_megabytes": 10_000}}, events: new(atomic.Int64)}
	r.close = func() { cancel(); _ = os.RemoveAll(dir) }
	go r.countLines(ctx, filepath.Join(dir, "bench.ndjson"))
	return r, nil
}

func (r *receiver) countLines(ctx context.Context, name string) {
	var file *os.File
	buffer := make([]byte, 1<<20)
	for ; ctx.Err() == nil; _ = backoff.Sleep(ctx, 10*time.Millisecond) {
		if file == nil {
			file, _ = os.Open(name) // it may not be there yet
			continue
		}
		for n, err := file.Read(buffer); err == nil; n, err = file.Read(buffer) {
			r.events.Add(int64(bytes.Count(buffer[:n], []byte("\n"))))
		}
	}
	if file != nil {
		_ = file.Close()
	}
}
