package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/keytrail/keytrail/backup"
)

func backupCommand(c *client) *cobra.Command {
	var out string
	cmd := &cobra.Command{Use: "backup --out FILE", Short: "Back up the ledger of a running service to a file", Args: cobra.NoArgs,
		Long: `Back up the ledger of a running service to a file: all events and uses up to now.
The file has its name only when it is whole, on disk, and read back. It holds digests:
keep it as you keep the data directory. The root key is not in it.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.backUp(cmd, out) }}
	cmd.Flags().StringVar(&out, "out", "", "the file to write; it must not exist")
	_ = cmd.MarkFlagRequired("out")
	return cmd
}

func (c *client) backUp(cmd *cobra.Command, out string) error {
	if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
		return errors.Join(fmt.Errorf("%s exists; give another name", out), err)
	}
	answer, err := c.send(cmd.Context(), http.MethodGet, "/v1/backup", nil, nil, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	part := out + ".part"
	if err := receive(cmd, answer.Body, part); err != nil {
		return err
	}
	manifest, summary, err := verifyFile(cmd, part)
	if err != nil {
		return fmt.Errorf("%s: %w", part, err)
	}
	if err := errors.Join(os.Rename(part, out), syncDir(filepath.Dir(out))); err != nil {
		return err
	}
	return c.show(cmd, map[string]any{"file": out, "manifest": manifest, "summary": summary}, func(w io.Writer) { showBackup(w, out, manifest, summary) })
}

func showBackup(w io.Writer, file string, m backup.Manifest, s backup.Summary) {
	fmt.Fprintf(w, "%s holds the ledger of %s\n", file, m.At.Format("2006-01-02T15:04:05Z"))
	for _, name := range []string{"events", "uses"} {
		content := s.Streams[name]
		fmt.Fprintf(w, "%-6s  %d messages, positions %d to %d, sha-256 %s\n", name, content.Messages, content.First, content.Last, content.SHA256)
	}
}

// receive writes what comes to path, and returns when it is on disk.
func receive(cmd *cobra.Command, from io.Reader, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	bar := progress(cmd, -1, "backing up")
	defer bar.Close()
	_, err = io.Copy(io.MultiWriter(f, bar), &answerReader{from})
	return errors.Join(err, f.Sync(), f.Close())
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

func verifyFile(cmd *cobra.Command, path string) (m backup.Manifest, s backup.Summary, err error) {
	err = reading(cmd, path, "verifying", func(from io.Reader) error {
		m, s, err = backup.Verify(from)
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
	bar := progress(cmd, info.Size(), what)
	defer bar.Close()
	return f(io.TeeReader(file, bar))
}

// syncDir puts the names in a directory on disk.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
