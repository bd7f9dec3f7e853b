package main

import "github.com/spf13/cobra"

func auditCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "audit", Short: "Show what proves the trail, check it, and answer an auditor's questions"}
	cmd.AddCommand(auditStateCommand(c), auditReportCommand(c), auditLogCommand(c), auditVkeyCommand(c), auditExportCommand(c), auditProofCommand(c), auditVerifyCommand(c), auditRotateKeysCommand(c), auditRenewCommand(c))
	return cmd
}
