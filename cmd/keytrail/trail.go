package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/keytrail/keytrail/audit"
	"github.com/keytrail/keytrail/audit/witness"
	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/internal/keyring"
)

// maxTrailOrigin keeps an origin, which has the log's and the stream's name after it, below the 255
// bytes that a signature with ML-DSA has room for.
const maxTrailOrigin = 200

// checkTrailOrigin refuses what cannot be a key's name in a signed note.
func (c *Config) checkTrailOrigin() error {
	if len(c.TrailOrigin) > maxTrailOrigin || strings.ContainsFunc(c.TrailOrigin, func(r rune) bool { return r <= ' ' || r > '~' || r == '+' }) {
		return errors.New("--trail-origin: must be printable ASCII without spaces and +, at most 200 characters")
	}
	return nil
}

// A trailSigning is what commands know of the Merkle logs.
type trailSigning struct {
	*audit.Log
	keys audit.Keys
}

// VerifierKeys are those of a generation, by stream.
func (s trailSigning) VerifierKeys(origin string, generation int) (map[string][]string, error) {
	return s.keys.Verifiers(origin, generation)
}

// openTrail makes the Merkle logs over the trail known to commands.
func (s *service) openTrail(ring *keyring.Keyring, o *commands.Options) {
	s.merkle, s.checkpointKeys = audit.NewLog(s.ledger), audit.NewKeys(ring.Derive(keyring.Checkpoints))
	o.Trail, o.Origin = trailSigning{s.merkle, s.checkpointKeys}, cmp.Or(s.TrailOrigin, "keytrail/"+ring.Fingerprint())
}

// signTrail begins the Merkle logs, or the next ones after a restoration, and signs them from then on.
func (s *service) signTrail(ctx context.Context) error {
	if _, err := s.commands.BeginTrail(ctx, s.ledger.Restored()); err != nil {
		return err
	}
	if _, err := s.merkle.Current(ctx); err != nil { // so that LastOrigin knows it
		return err
	}
	s.signer = audit.NewSigner(audit.Options{Ledger: s.ledger, Log: s.merkle, Keys: s.checkpointKeys, Dir: filepath.Join(s.Data, "checkpoints"), Logger: s.log, Metrics: s.metrics,
		ReportFork: func(ctx context.Context, f audit.Fork) error {
			return s.commands.DetectFork(ctx, commands.DetectFork{Log: f.Log, Stream: f.Stream, Finding: f.Finding, Checkpoint: string(f.Checkpoint.Note)})
		}})
	s.run(s.signer.Run)
	if len(s.witnesses) > 0 {
		s.run(witness.NewCosigner(s.merkle, s.witnesses, s.log, s.metrics).Run)
	}
	return nil
}

// readWitnesses are the witnesses that the settings name.
func (c *Config) readWitnesses() ([]*witness.Client, error) {
	if c.WitnessPolicy == "" {
		return nil, nil
	}
	text, err := os.ReadFile(c.WitnessPolicy)
	if err != nil {
		return nil, fmt.Errorf("--witness-policy: %w", err)
	}
	clients, err := witness.ParseClients(text)
	if err == nil && len(clients) == 0 {
		err = errors.New("it names no witness")
	}
	if err != nil {
		return nil, fmt.Errorf("--witness-policy: %w", err)
	}
	return clients, nil
}
