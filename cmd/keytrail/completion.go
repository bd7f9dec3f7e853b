package main

import (
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/projections"
)

// flagValues are the values of flags that have few, by the flag's name.
func flagValues() map[string][]string {
	values := map[string][]string{
		"status": domain.StateNames(), "format": {gitleaks, trufflehog}, "uses": {"durable", "relaxed"},
		"order": {"asc", "desc"}, "log-format": {"text", "json"}, "log-level": {"debug", "info", "warn", "error"},
	}
	for _, by := range projections.SortKeys {
		values["sort"] = append(values["sort"], by, "-"+by)
	}
	for _, r := range domain.Reasons {
		values["reason"] = append(values["reason"], string(r))
	}
	for _, o := range domain.Outcomes {
		values["code"] = append(values["code"], string(o))
	}
	for _, t := range domain.EventTypes {
		values["type"] = append(values["type"], t.Name)
	}
	return values
}

// files are the flags and the commands whose values, or arguments, are names of files.
var (
	fileFlags    = []string{"ca", "data", "file", "from", "key-file", "keyring", "map", "nats-ca", "nats-cert", "nats-creds", "nats-key", "org-map", "out", "output", "revocations-from", "root-key-file", "tls-cert", "tls-key", "to-file", "with-keyring"}
	fileCommands = []string{"import"}
)

// complete gives a shell what it may offer: values where they are known, files where files
// are meant, and nothing elsewhere, where it would offer files on its own.
func (c *client) complete(cmd *cobra.Command) {
	values := flagValues()
	offer := func(f *pflag.Flag) {
		if f.Name == "keyspace" {
			_ = cmd.RegisterFlagCompletionFunc(f.Name, c.keyspaceNames)
		}
		if _, has := cmd.GetFlagCompletionFunc(f.Name); !has && !slices.Contains(fileFlags, f.Name) {
			_ = cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(values[f.Name], cobra.ShellCompDirectiveNoFileComp))
		}
	}
	cmd.LocalFlags().VisitAll(offer)
	if cmd.ValidArgsFunction == nil && len(cmd.ValidArgs) == 0 && !slices.Contains(fileCommands, cmd.Name()) {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
	if cmd.Name() == "rebuild" {
		cmd.ValidArgsFunction = cobra.FixedCompletions(projections.Names(), cobra.ShellCompDirectiveNoFileComp)
	}
	for _, sub := range cmd.Commands() {
		c.complete(sub)
	}
}
