package main

import (
	"io"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

func auditProofCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "proof POSITION", Short: "Print what proves one event or use", Args: cobra.ExactArgs(1),
		Long: `Print the proof of an event, like 17, or of a use, like 17.3, that your key may see: positions are
in what keytrail events list prints. Keep it in a file, which keytrail audit verify checks.
What has just happened is waited for until it is signed, which takes a second or two.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.printAnswer(cmd, "/v1/events/"+url.PathEscape(args[0])+"/proof")
		}}
}

func auditVkeyCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "vkey", Short: "Print the verifier keys that sign the Merkle logs", Args: cobra.NoArgs,
		Long: `Print the verifier keys that sign the Merkle logs at the moment, a line each: for a policy, for
--vkey of keytrail audit verify, and for --log of keytrail witness. Compare them with what
the operator tells you another way.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.printAnswer(cmd, "/v1/trail/vkey") }}
}

// printAnswer prints what a path answers, as it is.
func (c *client) printAnswer(cmd *cobra.Command, path string) error {
	return c.retry(cmd.Context(), func() error {
		answer, err := c.send(cmd.Context(), http.MethodGet, path, nil, nil, nil)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(&answerReader{answer.Body})
		if err != nil {
			return err
		}
		_, err = cmd.OutOrStdout().Write(text)
		return err
	})
}
