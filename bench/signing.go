package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A signingTrial is verification by a service that signs the Merkle logs, or by one that does not.
type signingTrial struct {
	Round     int     `json:"round"`
	Uses      state   `json:"uses"`
	Signs     bool    `json:"signs"`
	Processor float64 `json:"server_cpu_seconds"` // all that the service used under load and until it rested
	measurement
}

// wantSigned is the share of verification's rate without the Merkle logs that is to be left with them.
const wantSigned = 0.97

// signing verifies with the service and with one that is built without signing, in turns whose order
// changes with the round.
func signing(ctx context.Context, e *env) error {
	unsigned, err := e.buildUnsigned(ctx)
	if err != nil {
		return err
	}
	turns := []bool{true, false}
	for round := range e.rounds {
		for _, uses := range []state{relaxed, durable} {
			for _, signs := range turns {
				t := signingTrial{Round: round, Uses: uses, Signs: signs}
				if err := e.signingTrial(ctx, unsigned, &t); err != nil {
					return err
				}
				e.logf("  round %d, %s, signs: %-5t: %7.0f verifications/s, %5.1f µs of processor time each", round+1, uses, signs, t.PerSecond, t.each())
				e.report.Signing = append(e.report.Signing, t)
			}
		}
		slices.Reverse(turns)
	}
	return nil
}

// buildUnsigned builds a service whose signer does nothing. The service has no such setting: it
// always signs.
func (e *env) buildUnsigned(ctx context.Context) (binary string, err error) {
	dir, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", "github.com/keytrail/keytrail/audit").Output()
	if err != nil {
		return "", fmt.Errorf("find the package audit: %w", err)
	}
	original := filepath.Join(strings.TrimSpace(string(dir)), "signer.go")
	source, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	run := []byte("func (s *Signer) Run(ctx context.Context) error {\n")
	if !bytes.Contains(source, run) {
		return "", errors.New("the signer's Run was not found in " + original)
	}
	replaced, overlay, binary := filepath.Join(e.dir, "signer.go"), filepath.Join(e.dir, "overlay.json"), filepath.Join(e.dir, "unsigned")
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{original: replaced}})
	if err == nil {
		err = os.WriteFile(overlay, text, 0o600)
	}
	if err == nil {
		err = os.WriteFile(replaced, bytes.Replace(source, run, append(run, "<-ctx.Done(); return nil\n"...), 1), 0o600)
	}
	if err != nil {
		return "", err
	}
	build := exec.CommandContext(ctx, "go", "build", "-overlay", overlay, "-o", binary, "github.com/keytrail/keytrail/cmd/keytrail")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build a service that does not sign: %w: %s", err, out)
	}
	return binary, nil
}

// signingTrial begins with an idle service, which has signed what the turn before left.
func (e *env) signingTrial(ctx context.Context, unsigned string, t *signingTrial) error {
	signs := e.binary
	defer func() { e.binary = signs }()
	if !t.Signs {
		e.binary = unsigned
	}
	err := e.startService(ctx, t.Uses)
	if err == nil && t.Signs {
		err = e.untilSigned(ctx)
	}
	if err == nil {
		_, err = e.untilIdle(ctx, e.service.pid)
	}
	if err != nil {
		return err
	}
	w := e.evenly(slices.Max(e.connections), e.duration)
	w.WarmUp = e.warmUp
	if t.measurement, t.Processor, err = e.load(ctx, e.service.server, w); err != nil {
		return err
	}
	after, err := e.untilIdle(ctx, e.service.pid)
	t.Processor += after
	return errors.Join(err, e.stopService())
}

// each is the processor time of one verification, in microseconds.
func (t *signingTrial) each() float64 { return t.Processor / float64(t.Answers) * 1e6 }

// signedShares are, of each round, what is left of the rate with signing, and the processor time of
// a verification without signing as a share of that with it.
func (r *report) signedShares(uses state) (rates, processor []float64) {
	with, without := map[int]signingTrial{}, map[int]signingTrial{}
	for _, t := range r.Signing {
		switch {
		case t.Uses != uses:
		case t.Signs:
			with[t.Round] = t
		default:
			without[t.Round] = t
		}
	}
	for round, a := range with {
		b := without[round]
		rates, processor = append(rates, a.PerSecond/b.PerSecond), append(processor, b.each()/a.each())
	}
	return rates, processor
}

func signingTargets(r *report) (all []target) {
	for _, uses := range []state{relaxed, durable} {
		rates, processor := r.signedShares(uses)
		for _, share := range []struct {
			what string
			of   []float64
		}{{"rate", rates}, {"rate that the processor time allows", processor}} {
			if share.of != nil {
				got := median(share.of)
				all = append(all, target{fmt.Sprintf("%s: verification with the Merkle logs, as a share of the %s without", uses, share.what), fmt.Sprintf("≥ %.2f", wantSigned),
					fmt.Sprintf("%.3f (%.3f to %.3f)", got, slices.Min(share.of), slices.Max(share.of)), got < wantSigned})
			}
		}
	}
	return all
}
