package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keytrail/keytrail/audit/evidence"
	"github.com/keytrail/keytrail/forwarders/outbound"
)

func auditVerifyCommand(c *client) *cobra.Command {
	var policy, since string
	var vkeys []string
	cmd := &cobra.Command{Use: "verify FILE", Short: "Check a bundle of evidence, or a proof, without the service", Args: cobra.ExactArgs(1),
		Long: `Check a bundle that keytrail audit export wrote, or a proof of one event or use, without the
service, the network or its operator's word. The first position that is wrong is named.

The keys that a file names itself only show that it fits together. Get the log's verifier
keys from its operator once, another way, and give them with --vkey, or in a policy (C2SP
tlog-policy) that also says which witnesses must have signed.

With --since, the log must go on from a checkpoint that you kept, or from that of an older
bundle. A bundle of everything from the beginning tells that by itself; another one must
have been exported with the same --since.

Exit codes: 0 it is good; 1 it is not; 2 wrong usage, or a file that cannot be read.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := auditOptions(policy, vkeys, since)
			if err != nil {
				return err
			}
			return c.verifyEvidence(cmd, args[0], o)
		}}
	cmd.Flags().StringVar(&policy, "policy", "", "file with the keys of logs and witnesses to trust, and the quorum of these")
	cmd.Flags().StringArrayVar(&vkeys, "vkey", nil, "a verifier key of the log to trust; for each log and key once")
	cmd.Flags().StringVar(&since, "since", "", "file with an older checkpoint or bundle")
	return cmd
}

func auditOptions(policy string, vkeys []string, since string) (o evidence.Options, err error) {
	if policy != "" {
		text, err := os.ReadFile(policy)
		if err == nil {
			o.Trust, err = evidence.ParsePolicy(text)
		}
		if err != nil {
			return o, fmt.Errorf("--policy: %w", err)
		}
	}
	for _, k := range vkeys {
		if err := o.Trust.AddKey(k); err != nil {
			return o, fmt.Errorf("--vkey: %w", err)
		}
	}
	if since != "" {
		if o.Older, err = readOlder(since); err != nil {
			return o, fmt.Errorf("--since: %w", err)
		}
	}
	return o, nil
}

// readOlder reads the beginning of a file, which has the checkpoints.
func readOlder(path string) ([]evidence.Head, error) {
	text, err := beginning(path, evidence.OlderBytes)
	if err != nil {
		return nil, err
	}
	return evidence.ReadOlder(text)
}

func beginning(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

// refuted is evidence that is not good.
type refuted struct {
	path  string
	cause error
}

func (e *refuted) Error() string { return e.path + " is not good: " + printable(e.cause.Error()) }
func (e *refuted) Unwrap() error { return e.cause }

// printable is text of a file of unknown origin, as a terminal can be shown it: what would
// move the cursor could take away what is said of the file.
func printable(text string) string { return outbound.Printable(text, len(text)) }

func (c *client) verifyEvidence(cmd *cobra.Command, path string, o evidence.Options) error {
	text, err := beginning(path, evidence.MaxProof)
	if err != nil {
		return err
	}
	if evidence.IsProof(text) {
		if o.Older != nil {
			return errors.New("--since is for bundles: a proof does not tell whether the log goes on from an older checkpoint")
		}
		return c.verifyProof(cmd, path, text, o.Trust)
	}
	var r evidence.Report
	err = reading(cmd, path, "verifying", func(from io.Reader) error {
		r, err = evidence.Verify(from, o)
		return err
	})
	if err != nil {
		return &refuted{path, err}
	}
	proved, not := r.Claims()
	return c.show(cmd, map[string]any{"file": path, "report": r, "proved": proved, "not_proved": not}, func(w io.Writer) {
		fmt.Fprintf(w, "%s is good: %s, %d histories, of %s\n", path, r.Counts, r.Histories, whose(&r.Manifest))
		for i, l := range r.Manifest.Logs {
			fmt.Fprintf(w, "\n%-6s  %s\n", l.Stream, positionsOf(l))
			showHead(w, &r.Heads[i])
		}
		showClaims(w, proved, not)
	})
}

// whose events a bundle has.
func whose(m *evidence.Manifest) string {
	if m.Complete() {
		return "all organizations"
	}
	return "organization " + string(m.Organization)
}

func positionsOf(l evidence.Log) string {
	if l.Last < l.First {
		return "no positions"
	}
	return fmt.Sprintf("positions %d to %d", l.First, l.Last)
}

func (c *client) verifyProof(cmd *cobra.Command, path string, text []byte, trust evidence.Trust) error {
	p, err := evidence.VerifyProof(text, trust)
	if err != nil {
		return &refuted{path, err}
	}
	proved, not := p.Claims()
	return c.show(cmd, map[string]any{"file": path, "proof": p, "proved": proved, "not_proved": not}, func(w io.Writer) {
		fmt.Fprintf(w, "%s is good: %s position %s\n%s\n\n", path, p.Proof.Stream, p.Proof.Identity(), printable(p.Proof.Text()))
		showHead(w, &p.Head)
		showClaims(w, proved, not)
	})
}

func showHead(w io.Writer, h *evidence.Head) {
	fmt.Fprintf(w, "        checkpoint of %d positions, %s\n        signed by %s\n", h.Size, h.Root, printable(strings.Join(h.SignedBy, ", ")))
	for _, s := range h.CosignedBy {
		fmt.Fprintf(w, "        cosigned by %s at %s\n", printable(s.Witness), s.At.Format("2006-01-02T15:04:05Z"))
	}
}

func showClaims(w io.Writer, proved, not []string) {
	fmt.Fprintln(w, "\nProved:")
	for _, line := range proved {
		fmt.Fprintln(w, " ", printable(line))
	}
	fmt.Fprintln(w, "\nNot proved:")
	for _, line := range not {
		fmt.Fprintln(w, " ", printable(line))
	}
}
