package main

import (
	"io"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/keytrail/keytrail/api"
)

// orgPath is a path of an organization.
func orgPath(org string, parts ...string) string {
	path := "/v1/organizations/" + url.PathEscape(org)
	for _, p := range parts {
		path += "/" + url.PathEscape(p)
	}
	return path
}

func membersCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "members", Short: "List, add, change and remove members of organizations"}
	cmd.AddCommand(
		&cobra.Command{Use: "list ORG_ID", Short: "List the members of an organization", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			all, err := listAll[api.Member](cmd, c, orgPath(args[0], "members"), url.Values{"limit": {"1000"}})
			if err != nil {
				return err
			}
			return c.show(cmd, all, func(w io.Writer) { showMembers(w, all) })
		}},
		&cobra.Command{Use: "set ORG_ID USER_ID ROLE", Short: "Make a user a member, or give a member another role", Args: cobra.ExactArgs(3), RunE: func(cmd *cobra.Command, args []string) error {
			var m api.Member
			if err := c.call(cmd.Context(), http.MethodPut, orgPath(args[0], "members", args[1]), nil, map[string]string{"role": args[2]}, &m); err != nil {
				return err
			}
			return c.show(cmd, m, func(w io.Writer) { showMembers(w, []api.Member{m}) })
		}},
		&cobra.Command{Use: "remove ORG_ID USER_ID", Short: "End a membership", Args: cobra.ExactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
			return c.remove(cmd, orgPath(args[0], "members", args[1]), "removed "+args[1])
		}})
	return cmd
}

func showMembers(w io.Writer, all []api.Member) {
	var rows [][]string
	for _, m := range all {
		rows = append(rows, []string{string(m.User.ID), m.Role, m.Since.Format("2006-01-02T15:04:05Z"), string(m.User.Status), m.User.Email, m.User.Name})
	}
	table(w, "USER ROLE SINCE STATUS EMAIL NAME", rows)
}
