package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/keytrail/keytrail/eventstore"
)

// A wholeReplay is the whole trail as NDJSON through the API, and its messages read from
// JetStream and thrown away.
type wholeReplay struct {
	Events    int     `json:"events"`
	Seconds   float64 `json:"seconds"`
	Processor float64 `json:"service_cpu_seconds"`
	Before    int64   `json:"resident_before"` // bytes
	Peak      int64   `json:"peak_resident"`
	Raw       reading `json:"raw"`
}

// A reading is what it takes to read all messages.
type reading struct {
	Seconds   float64 `json:"seconds"`
	Processor float64 `json:"cpu_seconds"` // the server's too: they are one process
}

// ndjson replays the trail with the first number of uses.
func ndjson(ctx context.Context, e *env) error {
	if err := e.fillUses(ctx, e.usesFilled[0]); err != nil {
		return err
	}
	r := &wholeReplay{}
	reader, err := startChild(ctx, "raw", e.profile("raw"))
	if err != nil {
		return err
	}
	if err := errors.Join(reader.ask(e.ledger(), &r.Raw), reader.stop()); err != nil {
		return err
	}
	if err := e.startIdle(ctx); err != nil {
		return err
	}
	e.report.WholeReplay = r
	return r.measure(ctx, e)
}

// readAllRaw reads both streams of the ledger in a directory.
func readAllRaw(ctx context.Context, ledger string) (r reading, err error) {
	return r, withLedger(ctx, ledger, func(nc *nats.Conn, l *eventstore.Ledger) (err error) {
		begin := time.Now()
		r.Processor, err = processorTimeOf(os.Getpid(), func() error {
			for stream, name := range map[eventstore.Stream]string{eventstore.Events: "KEYTRAIL_EVENTS", eventstore.Uses: "KEYTRAIL_USES"} {
				end, err := l.End(ctx, stream)
				if err == nil {
					err = readRaw(ctx, nc, name, uint64(end))
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		r.Seconds = time.Since(begin).Seconds()
		return err
	})
}

func (r *wholeReplay) measure(ctx context.Context, e *env) (err error) {
	before, err1 := e.service.memory()
	err2, begin := e.service.forgetPeak(), time.Now()
	r.Processor, err = processorTimeOf(e.service.pid, func() error { return r.read(ctx, e) })
	r.Seconds, r.Before = time.Since(begin).Seconds(), before.Resident
	peak, err3 := e.service.peak()
	r.Peak = peak
	return errors.Join(err1, err2, err, err3)
}

// read counts the events. Each use that was filled must be there, once; and each key.
func (r *wholeReplay) read(ctx context.Context, e *env) error {
	req, err := newRequest(ctx, http.MethodGet, e.service.url("/v1/events"), e.rootKey, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/x-ndjson")
	res, err := do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines, seen := bufio.NewScanner(res.Body), seenEvents{}
	for lines.Buffer(make([]byte, 64<<10), 1<<20); lines.Scan(); r.Events++ {
		if err := seen.add(lines.Bytes()); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return seen.check(e)
}

// seenEvents is a sum of events that shows which are missing or repeated.
type seenEvents struct {
	uses, keys int
	requests   uint64 // sum of the random numbers of the uses that were filled
}

var (
	usedType, createdType = []byte(`"type":"key.used"`), []byte(`"type":"key.created"`)
	byGateway             = []byte(`"actor":"` + gateway + `"`)
	correlation           = []byte(`"correlationid":"`)
)

func (s *seenEvents) add(line []byte) error {
	switch {
	case bytes.Contains(line, createdType):
		s.keys++
	case bytes.Contains(line, usedType) && bytes.Contains(line, byGateway):
		_, id, _ := bytes.Cut(line, correlation)
		request, err := strconv.ParseUint(string(id[:min(16, len(id))]), 16, 64)
		if err != nil {
			return fmt.Errorf("not a use that was filled: %s", line)
		}
		s.uses++
		s.requests += request
	}
	return nil
}

func (s *seenEvents) check(e *env) error {
	want := seenEvents{uses: e.uses.len(), keys: s.keys}
	for j := range want.uses {
		want.requests += drawUse(j, e.keys).request
	}
	if *s != want || s.keys < e.keys {
		return fmt.Errorf("a replay has %+v, want %+v and %d keys or more", *s, want, e.keys)
	}
	return nil
}

func (r *wholeReplay) perCore() float64 { return float64(r.Events) / r.Processor }

func ndjsonTargets(r *report) []target {
	if r.WholeReplay == nil {
		return nil
	}
	rate := r.WholeReplay.perCore()
	return []target{{"whole replay as NDJSON, events for a second of the service's processor time", "≥ 200000", fmt.Sprintf("%.0f", rate), rate < 200_000}}
}

func ndjsonTable(r *report) string {
	t := table{
		before:  "## The whole trail\n\nAs NDJSON through the API to one client, and its messages read raw from JetStream in one process with the server.\n",
		columns: "| events> | events/s> | events/s a core> | resident before and at most, MB>",
	}
	if x := r.WholeReplay; x != nil {
		n := float64(x.Events)
		t.row("NDJSON | %d | %.0f | %.0f | %.0f, %.0f", x.Events, n/x.Seconds, x.perCore(), megabytes(x.Before), megabytes(x.Peak))
		t.row("raw | %d | %.0f | %.0f | ", x.Events, n/x.Raw.Seconds, n/x.Raw.Processor)
	}
	return t.String()
}
