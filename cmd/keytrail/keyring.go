package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/keyring"
)

// ensureKeyring reads the installation's keyring. At the first start it makes one, which is
// kept before the ledger has its fingerprint. From then on no other one is accepted.
func ensureKeyring(ctx context.Context, h *commands.Handler, path string) (*keyring.Keyring, error) {
	set, err := h.Keyring(ctx)
	if err != nil {
		return nil, err
	}
	ring, err := keyring.Load(path)
	made := errors.Is(err, fs.ErrNotExist)
	switch {
	case made && set.Fingerprint != "":
		return nil, wrongKeyring(path, "does not exist", set.Fingerprint)
	case made:
		ring, made, err = makeKeyring(path)
	}
	if err != nil {
		return nil, err
	}
	set, err = h.SetKeyring(ctx, ring.Fingerprint(), false)
	if errors.Is(err, domain.ErrKeyringMismatch) {
		if made { // and another process's was quicker
			err = os.Remove(path)
			return nil, errors.Join(wrongKeyring(path, "was just made and is taken away again", set.Fingerprint), err)
		}
		return nil, wrongKeyring(path, "has the fingerprint "+ring.Fingerprint(), set.Fingerprint)
	}
	return ring, err
}

// makeKeyring writes a new keyring, or reads the one that another process wrote meanwhile.
func makeKeyring(path string) (ring *keyring.Keyring, made bool, err error) {
	ring = keyring.New()
	err = ring.Create(path)
	if errors.Is(err, fs.ErrExist) {
		ring, err = keyring.Load(path)
		return ring, false, err
	}
	return ring, true, err
}

func wrongKeyring(path, what, want string) error {
	return fmt.Errorf("this installation's keyring has the fingerprint %s, and %s %s: copy the file from the process that has it, or from where you keep it, "+
		"or name it with --keyring; if it is lost, stop every process and run keytrail keyring replace", want, path, what)
}

func keyringCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "keyring", Short: "Replace the installation's keyring"}
	cmd.AddCommand(offline("replace", "Accept another keyring", `Make the file that --keyring names the installation's keyring, or a new one if there is
no such file. No key becomes bad by that; digests that were imported before are imported
again as other keys. Every process must be stopped. It is safe to repeat.`, replaceKeyring))
	return cmd
}

func replaceKeyring(ctx context.Context, c *Config, h *commands.Handler, out io.Writer) error {
	ring, err := keyring.Load(c.keyringFile())
	if errors.Is(err, fs.ErrNotExist) {
		ring, _, err = makeKeyring(c.keyringFile())
	}
	if err != nil {
		return err
	}
	if _, err := h.SetKeyring(ctx, ring.Fingerprint(), true); err != nil {
		return err
	}
	fmt.Fprintf(out, "The keyring in %s, with the fingerprint %s, is the installation's.\n", c.keyringFile(), ring.Fingerprint())
	return nil
}
