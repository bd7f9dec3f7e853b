package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/domain"
)

func keyspacesCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "keyspaces", Short: "Define, list and change keyspaces"}
	cmd.AddCommand(applyCommand(c), listKeyspacesCommand(c), showKeyspaceCommand(c), exportKeyspacesCommand(c),
		retireCommand(c, "retire", "retired", "Have no new keys in a keyspace; those that it has go on"),
		retireCommand(c, "reinstate", "reinstated", "Let keys be created in a retired keyspace again"), scannerRulesCommand(c))
	return cmd
}

func keyspacePath(name string) string { return "/v1/keyspaces/" + url.PathEscape(name) }

// keyspaces are all keyspaces, or those that are named, in that order.
func (c *client) keyspaces(ctx context.Context, names []string) ([]api.Keyspace, error) {
	var list struct {
		Items []api.Keyspace `json:"items"`
	}
	if err := c.call(ctx, http.MethodGet, "/v1/keyspaces", nil, nil, &list); err != nil || len(names) == 0 {
		return list.Items, err
	}
	var named []api.Keyspace
	for _, name := range names {
		i := slices.IndexFunc(list.Items, func(k api.Keyspace) bool { return k.Name == name })
		if i < 0 {
			return nil, &problem{Status: http.StatusNotFound, Code: domain.ErrNoKeyspace.Code, Detail: "there is no keyspace " + strconv.Quote(name)}
		}
		named = append(named, list.Items[i])
	}
	return named, nil
}

func listKeyspacesCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List keyspaces", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		all, err := c.keyspaces(cmd.Context(), nil)
		if err != nil {
			return err
		}
		return c.show(cmd, all, func(w io.Writer) {
			var rows [][]string
			for _, k := range all {
				rows = append(rows, []string{k.Name, describeFormat(k.Format), keyspaceStatus(k), when(k.CreatedAt), strconv.FormatUint(k.Revision, 10), orDash(k.Description)})
			}
			table(w, "NAME SECRETS STATUS CREATED REVISION DESCRIPTION", rows)
		})
	}}
}

func keyspaceStatus(k api.Keyspace) string {
	switch {
	case k.RetiredAt != nil:
		return "retired"
	case k.CreatedAt == nil:
		return "built in"
	}
	return "defined"
}

// describeFormat is how secrets look, like pw_(live_|test_) and 32 of base62.
func describeFormat(f domain.Format) string {
	var tags []string
	for _, e := range f.Environments {
		tags = append(tags, e.Tag)
	}
	text := f.Prefix
	if len(tags) > 0 {
		text += "(" + strings.Join(tags, "|") + ")"
	}
	text = strings.TrimPrefix(fmt.Sprintf("%s + %d %s", text, f.Length, f.Alphabet), " + ")
	if f.Checksum != "" {
		text += " + " + string(f.Checksum)
	}
	return text
}

func showKeyspaceCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "show NAME", Short: "Show a keyspace, as a file that apply takes", Args: cobra.ExactArgs(1), ValidArgsFunction: c.keyspaceNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			var k api.Keyspace
			if err := c.call(cmd.Context(), http.MethodGet, keyspacePath(args[0]), nil, nil, &k); err != nil {
				return err
			}
			return c.show(cmd, k, func(w io.Writer) {
				fmt.Fprintf(w, "# %s, created %s, retired %s, revision %d\n", keyspaceStatus(k), when(k.CreatedAt), when(k.RetiredAt), k.Revision)
				for _, f := range k.FormerFormats {
					fmt.Fprintf(w, "# formerly %s\n", describeFormat(f))
				}
				_, _ = io.WriteString(w, keyspaceFile(k))
			})
		}}
}

func retireCommand(c *client, verb, done, short string) *cobra.Command {
	return &cobra.Command{Use: verb + " NAME", Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: c.keyspaceNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			var k api.Keyspace
			if err := c.call(cmd.Context(), http.MethodPost, keyspacePath(args[0])+"/"+verb, nil, nil, &k); err != nil {
				return err
			}
			return c.show(cmd, k, func(w io.Writer) { fmt.Fprintln(w, k.Name, done) })
		}}
}

// keyspaceNames offers a shell the names of keyspaces: the service's, if it answers at once.
func (c *client) keyspaceNames(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Second) // a person waits for it
	defer cancel()
	quiet := *c
	quiet.errs = io.Discard
	names := []string{domain.DefaultKeyspace, domain.ManagementKeyspace}
	if all, err := quiet.keyspaces(ctx, nil); err == nil {
		names = names[:0]
		for _, k := range all {
			names = append(names, k.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
