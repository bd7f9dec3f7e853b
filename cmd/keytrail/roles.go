package main

import (
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/keytrail/keytrail/api"
	"github.com/spf13/cobra"
)

func rolesCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "roles", Short: "List, define and remove roles of organizations"}
	cmd.AddCommand(
		&cobra.Command{Use: "list ORG_ID", Short: "List the roles of an organization", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			all, err := listAll[api.Role](cmd, c, orgPath(args[0], "roles"), url.Values{})
			if err != nil {
				return err
			}
			return c.show(cmd, all, func(w io.Writer) { showRoles(w, all) })
		}},
		&cobra.Command{Use: "define ORG_ID ROLE [SCOPE]...", Short: "Define a role, or give it other scopes: these are all", Args: cobra.MinimumNArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
			var r api.Role
			if err := c.call(cmd.Context(), http.MethodPut, orgPath(args[0], "roles", args[1]), nil, map[string][]string{"scopes": args[2:]}, &r); err != nil {
				return err
			}
			return c.show(cmd, r, func(w io.Writer) { showRoles(w, []api.Role{r}) })
		}},
		&cobra.Command{Use: "remove ORG_ID ROLE", Short: "Remove a role that no member has", Args: cobra.ExactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
			return c.remove(cmd, orgPath(args[0], "roles", args[1]), "removed "+args[1])
		}})
	return cmd
}

func showRoles(w io.Writer, all []api.Role) {
	var rows [][]string
	for _, r := range all {
		rows = append(rows, []string{r.Role, strconv.FormatBool(r.BuiltIn), strconv.Itoa(r.Members), strings.Join(r.Scopes, " ")})
	}
	table(w, "ROLE BUILT-IN MEMBERS SCOPES", rows)
}
