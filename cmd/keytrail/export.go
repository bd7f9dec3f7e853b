package main

import (
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/spf13/cobra"
)

func exportCommand(c *client) *cobra.Command {
	var out string
	cmd := &cobra.Command{Use: "export", Short: "Write the keys of all organizations as lines for an import", Args: cobra.NoArgs,
		Long: `Write a line for each active key of every organization, with the digest of its newest
secret, as keytrail keys import takes it. Keep the file as you keep the data directory.

Left out, and counted: keys that are disabled, expired or revoked, which an import would
make active; management keys, which the other installation makes itself; older secrets
of keys that were rotated and are in their overlap. History and counts stay here.

To move a whole installation: keytrail orgs list --json > orgs.json and this here; then
keytrail orgs import orgs.json --map orgs.map and keytrail keys import --org-map there.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.export(cmd, out) }}
	cmd.Flags().StringVarP(&out, "output", "o", "", "write to this file, which others cannot read, instead of standard output")
	return cmd
}

func (c *client) export(cmd *cobra.Command, out string) error {
	answer, err := c.send(cmd.Context(), http.MethodGet, "/v1/keys/export", nil, nil, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body := &answerReader{answer.Body}
	if out == "" {
		_, err = io.Copy(cmd.OutOrStdout(), body)
	} else {
		err = c.save(cmd, body, out)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "exported %s keys; left out: %s\n", answer.Trailer.Get("Keytrail-Exported"), answer.Trailer.Get("Keytrail-Left-Out"))
	return nil
}

// save writes an export to a file, which has its name only when it is whole.
func (c *client) save(cmd *cobra.Command, from io.Reader, path string) error {
	f, err := newPart(path + ".part")
	if err != nil {
		return err
	}
	bar := progress(cmd, -1, "exporting", inBytes)
	n, err := io.Copy(io.MultiWriter(f, bar), from)
	_ = bar.Close()
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	if err := os.Rename(path+".part", path); err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "wrote %d bytes to %s\n", n, path)
	return nil
}
