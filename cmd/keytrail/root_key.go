package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/secretfile"
)

// A rootFile is where the root key's secret is kept, which is done before the ledger has
// its digest. Several processes may name one file.
type rootFile struct {
	path, aside string // aside: where what was there before has gone
	text        string // what was written; "": nothing
}

// keep writes the secret. It puts aside what is there already: it may be another ledger's
// only root key.
func (f *rootFile) keep(s domain.Secret) error {
	aside := f.path + ".before-" + time.Now().UTC().Format("20060102T150405.000")
	err := os.Rename(f.path, aside)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err == nil {
		f.aside = aside
	}
	f.text = s.Reveal() + "\n"
	return secretfile.Replace(f.path, f.text)
}

// giveUp takes the secret away, which did not become the root key's, because another
// process was quicker, and puts back what was there. The other process may have written
// the file since: then it stays.
func (f *rootFile) giveUp() error {
	text, err := os.ReadFile(f.path)
	switch {
	case errors.Is(err, os.ErrNotExist) || err == nil && string(text) != f.text:
		return nil
	case err != nil:
		return err
	case f.aside != "":
		return os.Rename(f.aside, f.path)
	}
	return os.Remove(f.path)
}

// ensureRootKey writes the root key's secret to path, and its digest to the ledger, if the
// ledger has no root key.
func ensureRootKey(ctx context.Context, h *commands.Handler, path string) (created bool, err error) {
	f := rootFile{path: path}
	created, err = h.EnsureRootKey(ctx, f.keep)
	if err == nil && f.text != "" && !created {
		err = f.giveUp()
	}
	return created, err
}

var errOtherReset = errors.New("another process reset the root key at the same time; the new one is where that one says")

func rootKeyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "root-key", Short: "Replace the root key"}
	cmd.AddCommand(offline("reset", "End the root key and make a new one", `End the root key and make a new one, if it is lost or somebody else has it. With the
embedded ledger the service must be stopped; with --nats-url it may run. Both are on the
audit trail, by "system". It is safe to repeat after an interruption.`, resetRootKey))
	return cmd
}

func resetRootKey(ctx context.Context, c *Config, h *commands.Handler, out io.Writer) error {
	f := rootFile{path: c.rootKeyFile()}
	created, err := h.ResetRootKey(ctx, f.keep)
	if err == nil && !created {
		err = errors.Join(errOtherReset, f.giveUp())
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "The new root key is in %s; the old one is refused from now on.\n", f.path)
	if f.aside != "" {
		fmt.Fprintf(out, "What was in that file is in %s.\n", f.aside)
	}
	return nil
}
