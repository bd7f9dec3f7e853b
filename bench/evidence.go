package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/keytrail/keytrail/internal/backoff"
)

// An evidenceTime is how long the evidence of a whole ledger took.
type evidenceTime struct {
	Events int     `json:"events"`
	Signed float64 `json:"start_to_signed_seconds"` // from the start of the service on a ledger of which nothing was signed
	Export float64 `json:"export_seconds"`
	Verify float64 `json:"verify_seconds"`
	Bytes  int64   `json:"bundle_bytes"`
}

// wantVerify is how long a bundle of a million events may take to verify, in seconds.
const wantVerify = 5

// evidence signs a ledger from its beginning, and exports and verifies all of it, as an auditor
// does.
func evidence(ctx context.Context, e *env) error {
	t := evidenceTime{Events: e.keys}
	begin := time.Now()
	if err := e.startService(ctx, durable); err != nil {
		return err
	}
	if err := e.untilSigned(ctx); err != nil {
		return err
	}
	t.Signed = time.Since(begin).Seconds()
	if _, err := e.untilIdle(ctx, e.service.pid); err != nil {
		return err
	}
	bundle := filepath.Join(e.dir, "bundle")
	var err error
	if t.Export, err = e.timed(ctx, "audit", "export", "--url", e.service.url(""), "--key-file", filepath.Join(e.data(), "root.key"), "--out", bundle); err != nil {
		return err
	}
	if err := e.stopService(); err != nil { // an auditor has a machine of his own
		return err
	}
	if t.Verify, err = e.timed(ctx, "audit", "verify", bundle); err != nil {
		return err
	}
	info, err := os.Stat(bundle)
	if err != nil {
		return err
	}
	t.Bytes = info.Size()
	e.logf("  %d events: signed after %.1f s, exported in %.1f s, verified in %.1f s", t.Events, t.Signed, t.Export, t.Verify)
	e.report.Evidence = append(e.report.Evidence, t)
	return nil
}

// timed runs the command line, and gives the time that it took in seconds.
func (e *env) timed(ctx context.Context, args ...string) (float64, error) {
	begin := time.Now()
	if out, err := exec.CommandContext(ctx, e.binary, args...).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("keytrail %s: %w: %s", args[1], err, out)
	}
	return time.Since(begin).Seconds(), nil
}

// untilSigned waits until all events are under a checkpoint.
func (e *env) untilSigned(ctx context.Context) error {
	for {
		var log struct {
			Streams []struct {
				Name   string `json:"stream"`
				Signed int    `json:"signed_size"`
			} `json:"streams"`
		}
		if err := e.root(ctx, http.MethodGet, "/v1/trail", nil, &log); err != nil {
			return err
		}
		for _, s := range log.Streams {
			if s.Name == "events" && s.Signed > e.keys {
				return nil
			}
		}
		if err := backoff.Sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

func evidenceTargets(r *report) (all []target) {
	for _, t := range r.Evidence {
		want, missed := noTarget, false
		if t.Events == 1_000_000 {
			want, missed = fmt.Sprintf("≤ %d s", wantVerify), t.Verify > wantVerify
		}
		all = append(all, target{fmt.Sprintf("a bundle of %d events is verified in", t.Events), want, fmt.Sprintf("%.1f s", t.Verify), missed})
	}
	return all
}

func evidenceTable(r *report) string {
	t := table{
		before:  "## Evidence\n\nA service that starts on a ledger of which nothing was signed, and a bundle of all of it.\n",
		columns: "events> | start to signed s> | export s> | verify s> | bundle MB>",
	}
	for _, x := range r.Evidence {
		t.row("%d | %.1f | %.1f | %.1f | %.0f", x.Events, x.Signed, x.Export, x.Verify, float64(x.Bytes)/1e6)
	}
	return t.String()
}
