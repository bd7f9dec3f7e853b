package main

import (
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

type org struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
	Revision  uint64    `json:"revision"`
}

func orgsCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "orgs", Short: "Create, list and rename organizations"}
	one := func(method, path string, body any) func(*cobra.Command) error {
		return func(cmd *cobra.Command) error {
			var o org
			if err := c.call(cmd.Context(), method, path, nil, body, &o); err != nil {
				return err
			}
			return c.show(cmd, o, func(w io.Writer) { showOrgs(w, []org{o}) })
		}
	}
	cmd.AddCommand(
		&cobra.Command{Use: "create NAME", Short: "Create an organization", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return one(http.MethodPost, "/v1/organizations", map[string]string{"name": args[0]})(cmd)
		}},
		&cobra.Command{Use: "get ORG_ID", Short: "Show an organization", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return one(http.MethodGet, "/v1/organizations/"+url.PathEscape(args[0]), nil)(cmd)
		}},
		&cobra.Command{Use: "rename ORG_ID NAME", Short: "Rename an organization", Args: cobra.ExactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
			return one(http.MethodPatch, "/v1/organizations/"+url.PathEscape(args[0]), map[string]string{"name": args[1]})(cmd)
		}},
		&cobra.Command{Use: "list", Short: "List organizations", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			all := []org{}
			for q := (url.Values{"limit": {"1000"}}); ; {
				var page struct {
					Items []org   `json:"items"`
					Next  *string `json:"next_cursor"`
				}
				if err := c.call(cmd.Context(), http.MethodGet, "/v1/organizations", q, nil, &page); err != nil {
					return err
				}
				if all = append(all, page.Items...); page.Next == nil {
					return c.show(cmd, all, func(w io.Writer) { showOrgs(w, all) })
				}
				q.Set("cursor", *page.Next)
			}
		}})
	return cmd
}

func showOrgs(w io.Writer, all []org) {
	var rows [][]string
	for _, o := range all {
		rows = append(rows, []string{o.ID, o.CreatedAt.Format("2006-01-02T15:04:05Z"), strconv.FormatUint(o.Revision, 10), o.Name})
	}
	table(w, "ID CREATED REVISION NAME", rows)
}
