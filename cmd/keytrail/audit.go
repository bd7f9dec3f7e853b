package main

import "github.com/spf13/cobra"

func auditCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "audit", Short: "Answer an auditor's questions"}
	cmd.AddCommand(auditStateCommand(c))
	return cmd
}
