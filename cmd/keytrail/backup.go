package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/keytrail/keytrail/backup"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/dirsync"
	"github.com/keytrail/keytrail/internal/keyring"
)

func backupCommand(c *client) *cobra.Command {
	var out, ring string
	cmd := &cobra.Command{Use: "backup --out FILE", Short: "Back up the ledger of a running service to a file", Args: cobra.NoArgs,
		Long: `Back up the ledger of a running service to a file: all events and uses up to now.
The file has its name only when it is whole, on disk, and read back. It holds digests:
keep it as you keep the data directory. The root key is not in it, and the keyring only if
its file is given with --with-keyring: it is not sent over the network.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.backUp(cmd, out, ring) }}
	cmd.Flags().StringVar(&out, "out", "", "the file to write; it must not exist")
	cmd.Flags().StringVar(&ring, "with-keyring", "", "the installation's keyring, to be kept in the back-up")
	_ = cmd.MarkFlagRequired("out")
	return cmd
}

func (c *client) backUp(cmd *cobra.Command, out, ring string) error {
	if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
		return errors.Join(fmt.Errorf("%s exists; give another name", out), err)
	}
	keep, err := readKeyring(ring)
	if err != nil {
		return err
	}
	answer, err := c.send(cmd.Context(), http.MethodGet, "/v1/backup", nil, nil, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	part := out + ".part"
	if err := receive(cmd, answer.Body, part, keep); err != nil {
		return err
	}
	manifest, summary, err := verifyFile(cmd, part, keep.look)
	if err == nil && keep != nil && keep.wanted != keep.fingerprint {
		err = fmt.Errorf("the keyring %s has the fingerprint %s, and the ledger's is %s", ring, keep.fingerprint, keep.wanted)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", part, err)
	}
	if err := errors.Join(os.Rename(part, out), dirsync.Sync(filepath.Dir(out))); err != nil {
		return err
	}
	return c.show(cmd, map[string]any{"file": out, "manifest": manifest, "summary": summary}, func(w io.Writer) { showBackup(w, out, manifest, summary) })
}

func showBackup(w io.Writer, file string, m backup.Manifest, s backup.Summary) {
	fmt.Fprintf(w, "%s holds the ledger of %s\n", file, m.At.Format("2006-01-02T15:04:05Z"))
	for _, stream := range eventstore.Streams {
		content := s.Streams[stream.String()]
		fmt.Fprintf(w, "%-9s  %d messages, positions %d to %d, sha-256 %s\n", stream, content.Messages, content.First, content.Last, content.SHA256)
	}
	for _, side := range eventstore.Sides {
		content := s.Sides[side.String()]
		fmt.Fprintf(w, "%-9s  %d messages, sha-256 %s\n", side, content.Messages, content.SHA256)
	}
}

// A keptKeyring is a keyring that goes into a back-up; nil: none does.
type keptKeyring struct {
	text        []byte
	fingerprint string
	wanted      string // the ledger's, as far as its events were looked at
}

func readKeyring(path string) (*keptKeyring, error) {
	if path == "" {
		return nil, nil
	}
	ring, err := keyring.Load(path)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	return &keptKeyring{text: text, fingerprint: ring.Fingerprint()}, err
}

// look notes which keyring the ledger has.
func (k *keptKeyring) look(m *eventstore.Raw) error {
	if k == nil || len(m.Header["Event-Type"]) == 0 || m.Header["Event-Type"][0] != domain.TypeOf(domain.KeyringSet{}) {
		return nil
	}
	var e struct{ Data struct{ Fingerprint string } }
	err := json.Unmarshal(m.Data, &e)
	k.wanted = e.Data.Fingerprint
	return err
}

// receive writes what comes to path, the keyring before it, and returns when it is on disk.
func receive(cmd *cobra.Command, from io.Reader, path string, keep *keptKeyring) error {
	f, err := newPart(path)
	if err != nil {
		return err
	}
	bar := progress(cmd, -1, "backing up", inBytes)
	defer bar.Close()
	if keep != nil {
		err = backup.WriteKeyring(f, keep.text)
	}
	if err == nil {
		_, err = io.Copy(io.MultiWriter(f, bar), &answerReader{from})
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// newPart makes a file for what is being received, which others cannot read. What is there
// under its name is taken away, and never written to: it may be a link, or others' to read.
func newPart(path string) (*os.File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
}

// An answerReader reads an answer that does not come whole as unreachable.
type answerReader struct{ from io.Reader }

func (r *answerReader) Read(b []byte) (int, error) {
	n, err := r.from.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &unreachable{err}
	}
	return n, err
}

func verifyFile(cmd *cobra.Command, path string, look func(*eventstore.Raw) error) (m backup.Manifest, s backup.Summary, err error) {
	err = reading(cmd, path, "verifying", func(from io.Reader) error {
		m, s, err = backup.Verify(from, look)
		return err
	})
	return m, s, err
}

// reading gives a file to f, and shows how far it is.
func reading(cmd *cobra.Command, path, what string, f func(io.Reader) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	bar := progress(cmd, info.Size(), what, inBytes)
	defer bar.Close()
	return f(io.TeeReader(file, bar))
}
