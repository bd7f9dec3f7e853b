package main

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/keytrail/keytrail/api"
)

func auditLogCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "log", Short: "Show the Merkle logs over the trail and their last checkpoints", Args: cobra.NoArgs,
		Long: `Show the Merkle logs over the trail, and how much of each stream its last checkpoint
is of. It needs an installation-wide key with the scope audit:read.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.trailLog(cmd, http.MethodGet, "/v1/trail", nil) }}
}

func auditRotateKeysCommand(c *client) *cobra.Command {
	var overlap string
	cmd := &cobra.Command{Use: "rotate-keys", Short: "Sign checkpoints with new keys", Args: cobra.NoArgs,
		Long: `Sign checkpoints with new keys, which are derived from the keyring. The old ones sign as
well for the overlap: give auditors and witnesses the new ones meanwhile. It needs an
installation-wide key with the scope audit:write.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.trailLog(cmd, http.MethodPost, "/v1/trail/keys/rotate", map[string]string{"overlap": overlap})
		}}
	cmd.Flags().StringVar(&overlap, "overlap", "720h", "how long the old keys sign as well")
	return cmd
}

func auditRenewCommand(c *client) *cobra.Command {
	var comment string
	cmd := &cobra.Command{Use: "renew --comment TEXT", Short: "End the Merkle logs and begin the next ones", Args: cobra.NoArgs,
		Long: `End the Merkle logs and begin the next ones, of the ledger as it is now. It is the way out of a
fork, when you know why the ledger is not what was signed. The last checkpoints of the logs
before are recorded with the comment, and auditors will ask. It needs an installation-wide
key with the scope audit:write.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.trailLog(cmd, http.MethodPost, "/v1/trail/renew", map[string]string{"comment": comment})
		}}
	cmd.Flags().StringVar(&comment, "comment", "", "why, for those who ask later")
	_ = cmd.MarkFlagRequired("comment") // it fails only for a flag that is not there
	return cmd
}

// trailLog makes a request that is answered with the logs, and shows them.
func (c *client) trailLog(cmd *cobra.Command, method, path string, body any) error {
	var l api.TrailLog
	if err := c.call(cmd.Context(), method, path, nil, body, &l); err != nil {
		return err
	}
	return c.show(cmd, l, func(w io.Writer) { showTrailLog(w, l, time.Now()) })
}

func showTrailLog(w io.Writer, l api.TrailLog, now time.Time) {
	fmt.Fprintf(w, "log %d, %s %s\n", l.Number, l.Reason, l.BeganAt.Format(time.RFC3339))
	var rows [][]string
	for _, s := range l.Streams {
		age, fork := "-", "-"
		if s.SignedAt != nil {
			age = max(0, now.Sub(*s.SignedAt)).Round(time.Second).String()
		}
		if s.Forked {
			fork = "FORK"
		}
		rows = append(rows, []string{s.Stream, fmt.Sprint(s.Size), fmt.Sprint(s.SignedSize), age, fork, fmt.Sprint(s.MinimumIndex), s.Origin})
	}
	table(w, "STREAM SIZE SIGNED AGE FORK MINIMUM ORIGIN", rows)
}
