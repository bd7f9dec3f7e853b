package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keytrail/keytrail/audit/evidence"
	"github.com/keytrail/keytrail/internal/dirsync"
)

func auditExportCommand(c *client) *cobra.Command {
	var org, from, to, since, out string
	cmd := &cobra.Command{Use: "export --out FILE", Short: "Write a bundle of evidence that is checked without the service", Args: cobra.NoArgs,
		Long: `Write a bundle: events and uses, with the signed checkpoints of their logs and the hashes
between the two. keytrail audit verify checks it, and so can others: docs/audit.md.

A bundle of everything shows that nothing was changed or left out. One of an organization
shows that each event is genuine and that no key's history has a gap.

--from and --to choose by the time at which events and uses were stored. With --since, the
bundle shows that the log goes on from an older checkpoint, or from that of an older bundle.
The file has its name only when it is whole and on disk.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{}
			for name, value := range map[string]string{"org_id": org, "from": from, "to": to} {
				if value != "" {
					q.Set(name, value)
				}
			}
			if since != "" {
				if err := setSince(q, since); err != nil {
					return fmt.Errorf("--since: %w", err)
				}
			}
			return c.exportEvidence(cmd, q, out)
		}}
	cmd.Flags().StringVar(&org, "org", "", "events and uses of this organization alone")
	cmd.Flags().StringVar(&from, "from", "", "what was stored from this time on, like 2026-01-31T12:00:00Z")
	cmd.Flags().StringVar(&to, "to", "", "what was stored before this time")
	cmd.Flags().StringVar(&since, "since", "", "file with an older checkpoint or bundle")
	cmd.Flags().StringVar(&out, "out", "", "the file to write; it must not exist")
	_ = cmd.MarkFlagRequired("out")
	return cmd
}

// setSince asks for proofs that the logs go on from what is in a file.
func setSince(q url.Values, path string) error {
	heads, err := readOlder(path)
	for _, h := range heads {
		q.Set("since_"+h.Origin[strings.LastIndex(h.Origin, "/")+1:], strconv.FormatUint(h.Size, 10))
	}
	return err
}

func (c *client) exportEvidence(cmd *cobra.Command, q url.Values, out string) error {
	if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
		return errors.Join(fmt.Errorf("%s exists; give another name", out), err)
	}
	var answer *http.Response
	err := c.retry(cmd.Context(), func() (err error) {
		answer, err = c.send(cmd.Context(), http.MethodGet, "/v1/trail/bundle", q, nil, nil)
		return err
	})
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	end, err := receiveBundle(cmd, answer.Body, out+".part")
	if err != nil {
		_ = os.Remove(out + ".part")
		return err
	}
	if err := errors.Join(os.Rename(out+".part", out), dirsync.Sync(filepath.Dir(out))); err != nil {
		return err
	}
	return c.show(cmd, map[string]any{"file": out, "holds": end}, func(w io.Writer) {
		fmt.Fprintf(w, "%s holds %d events and %d uses; check it with keytrail audit verify\n", out, end.Events, end.Uses)
	})
}

// receiveBundle writes what comes to a file, and returns when that is whole and on disk.
func receiveBundle(cmd *cobra.Command, from io.Reader, path string) (evidence.Counts, error) {
	f, err := newPart(path)
	if err != nil {
		return evidence.Counts{}, err
	}
	bar := progress(cmd, -1, "exporting", inBytes)
	defer bar.Close()
	_, err = io.Copy(io.MultiWriter(f, bar), &answerReader{from})
	var end evidence.Counts
	if err == nil {
		end, err = evidence.ReadEnd(lastLine(f))
	}
	return end, errors.Join(err, f.Sync(), f.Close())
}

// lastLine is the last line of a file, if it is short.
func lastLine(f *os.File) []byte {
	const short = 1024
	size, _ := f.Seek(0, io.SeekEnd)
	text := make([]byte, min(size, short))
	_, _ = f.ReadAt(text, size-int64(len(text)))
	return text[bytes.LastIndexByte(bytes.TrimSuffix(text, []byte("\n")), '\n')+1:]
}
